"""scripts/demo, from the point at which its virtual environment is made."""

import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
import trustme

from tests.support.certificates import Certificates
from tests.support.process import Process

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]


@contextmanager
def demo(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    temporary = directory / "tmp"
    temporary.mkdir()
    command = (sys.executable, "-m", "scripts.demo", *arguments)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTLP_")}
    process = Process(
        command, directory, inherited | {"TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)} | dict(environment or {})
    )
    process.spawn()
    try:
        yield process
    finally:
        process.kill()
        for pid in processes_of(directory):
            os.kill(pid, signal.SIGKILL)


def left_behind(directory: Path) -> list[Path]:
    return list((directory / "tmp").iterdir())


def processes_of(directory: Path) -> list[int]:
    """The processes that have `directory` in their environment."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(directory).encode() in environment.read_bytes():
                found.append(int(environment.parent.name))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue  # it ended, or is not ours
    return found


async def test_the_demo_shows_everything_that_it_sends_and_ends_well(tmp_path: Path) -> None:
    with demo(tmp_path, "--once") as process:
        assert await process.wait(60) == 0, process.log
        assert not processes_of(tmp_path)
    assert "10 spans sent over grpc to 127.0.0.1:" in process.output
    assert "9 spans, 3 services, 812ms, 2 errors" in process.output
    assert "All 29 items that were sent were printed." in process.output
    assert "ready: 127.0.0.1:" in process.output
    assert "29 items accepted, 0 recovered, 29 delivered, 0 dropped, 0 dead, 0 left on disk" in process.log
    assert not left_behind(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_demo_ends_when_it_is_told_to_and_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    with demo(tmp_path) as process:

        async def goes_on() -> bool:
            return "Ctrl-C ends it." in process.output

        await process.until(goes_on, "the demo to go on")
        process.signal(number)
        assert await process.wait() == 0, process.log
        assert not processes_of(tmp_path)
    assert not left_behind(tmp_path)


async def test_the_demo_opens_with_the_console_and_keeps_traffic_flowing_that_passes_there(tmp_path: Path) -> None:
    with demo(tmp_path, "--traffic") as process:

        async def a_purchase_passes() -> bool:
            return process.output.partition("Ctrl-C ends it.")[2].count("POST /checkout") >= 2

        await process.until(a_purchase_passes, "purchases to pass")
        address = re.search(r"^The console, .*: (http://127.0.0.1:\d+)/$", process.output, re.MULTILINE)
        assert address is not None
        async with aiohttp.ClientSession(address[1]) as client, client.get("/console/traces") as reply:
            assert "<h1>Traces</h1>" in await reply.text()

        async def a_trace_is_there() -> bool:
            async with aiohttp.ClientSession(address[1]) as client, client.get("/console/traces") as reply:
                return "web, checkout, payment" in await reply.text()

        await process.until(a_trace_is_there, "a trace in the console")
        process.signal(signal.SIGINT)
        assert await process.wait() == 0, process.log
    assert not left_behind(tmp_path)


@pytest.mark.parametrize("trusts", ["the certificate itself", "an authority"])
async def test_the_demo_has_the_tls_and_the_keys_of_the_environment_and_shows_no_key(
    tmp_path: Path, trusts: str
) -> None:
    certificates = Certificates(tmp_path)
    environment = {
        "OTLP_SERVER__TLS__CERT_FILE": str(certificates.server_cert_file),
        "OTLP_SERVER__TLS__KEY_FILE": str(certificates.server_key_file),
        "OTLP_SERVER__TLS__CLIENT_CA_FILE": str(certificates.ca_file),
        "OTLP_AUTH__API_KEYS": "web:hush-hush-hush-hush",
    }
    arguments = ["--once"]
    if trusts == "an authority":
        arguments += ["--ca-file", str(certificates.ca_file)]
    else:  # who signed it is in the file
        chain = certificates.server_cert_file.read_bytes() + certificates.ca_file.read_bytes()
        certificates.server_cert_file.write_bytes(chain)
    with demo(tmp_path, *arguments, environment=environment) as process:
        assert await process.wait(60) == 0, process.output + process.log
    assert "--endpoint https://127.0.0.1:" in process.output
    assert "--header x-api-key=****" in process.output
    assert "All 29 items that were sent were printed." in process.output
    assert "hush" not in process.output + process.log


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"OTLP_SERVER__TLS__CERT_FILE": "none.pem"}, "server.tls.cert_file: 'none.pem' needs its key"),
        ({"OTLP_AUTH__API_KEYS": "a b"}, "auth.api_keys: entry 1: its key is empty or has characters"),
    ],
)
async def test_the_demo_says_what_is_wrong_with_the_environment(
    tmp_path: Path, environment: dict[str, str], problem: str
) -> None:
    with demo(tmp_path, "--once", environment=environment) as process:
        assert await process.wait() == 1
    assert process.log.startswith(f"scripts/demo: {problem}")


async def test_the_demo_says_that_nobody_here_would_trust_a_certificate_for_elsewhere(tmp_path: Path) -> None:
    elsewhere = trustme.CA().issue_cert("otlp.example")
    elsewhere.private_key_and_cert_chain_pem.write_to_path(tmp_path / "pem")
    files = {f"OTLP_SERVER__TLS__{name}_FILE": str(tmp_path / "pem") for name in ("CERT", "KEY")}
    with demo(tmp_path, "--once", environment=files) as process:
        assert await process.wait() == 1
    assert "is neither for localhost nor for 127.0.0.1" in process.log
