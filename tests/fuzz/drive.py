"""Run one harness under atheris, for scripts/fuzz: python -m tests.fuzz.drive NAME, and arguments of libFuzzer."""

import importlib
import sys

import atheris

name = sys.argv.pop(1)
with atheris.instrument_imports(include=["app"]):
    harness = importlib.import_module(f"tests.fuzz.{name}")
atheris.Setup(sys.argv, harness.check)
atheris.Fuzz()
