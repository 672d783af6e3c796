"""What the C library is asked for."""

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from app.memory.malloc import give_back, map_large_blocks
from tests.support.service import ROOT

CHURN = """
import re
from pathlib import Path
from app.memory.malloc import map_large_blocks

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10

map_large_blocks()
bytearray(1 << 20)  # freed at once: from here on glibc would take blocks of this size from its heap
blocks = [bytearray(1 << 20) for _ in range(100)]
last = bytearray(200_000)  # lies above them
before = resident()
blocks.clear()
print(before - resident())
"""


def test_large_blocks_go_back_to_the_system_when_they_are_freed() -> None:
    done = subprocess.run([sys.executable, "-c", CHURN], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert int(done.stdout) > 90


def test_free_memory_can_be_given_back_at_any_time() -> None:
    give_back()


def test_a_c_library_that_cannot_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    map_large_blocks()
    give_back()
