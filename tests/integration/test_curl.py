"""The README's request without an SDK, as it stands there, sent by curl."""

import asyncio
import json
import re
import subprocess
from pathlib import Path

import pytest

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.leaves import leaves, parse_json
from tests.support.patience import PATIENCE
from tests.support.service import Service

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.needs("curl")
async def test_what_the_readme_sends_with_curl_arrives_field_by_field(tmp_path: Path) -> None:
    [example] = re.findall(r"```sh\n(curl .*?)```", README, re.DOTALL)
    [body] = re.findall(r"'(\{.*\})'", example, re.DOTALL)
    assert example.count("http://localhost:8080") == 1
    async with (
        Backend() as backend,
        Service(tmp_path, {"exporter": {"endpoint": backend.http_endpoint}}) as service,
    ):
        ended = await asyncio.to_thread(
            subprocess.run,
            ["sh", "-c", example.replace("http://localhost:8080", service.http_url)],
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (0, "{}"), ended
        await service.settled(lambda scrape: scrape.books(Signal.TRACES).sent == 1, "delivered")
    arrived = leaves(Signal.TRACES, [request.body for request in backend.taken])
    assert arrived == leaves(Signal.TRACES, [parse_json(Signal.TRACES, json.loads(body))])
    assert "one table was locked" in str(arrived)
