"""``otlp-service send`` as its users run it."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.certificates import Certificates
from tests.support.exchange import Grpc, Hang, Http, Partial
from tests.support.patience import PATIENCE
from tests.support.ports import free_port
from tests.support.process import until
from tests.support.service import COMMAND, Service, clean_environment

PROTOCOLS = ("grpc", "http/protobuf", "http/json")


@dataclass(frozen=True)
class Ended:
    """A command that ran."""

    code: int
    output: str
    remarks: str


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend() as backend:
        yield backend


@pytest.fixture
async def service(tmp_path: Path, backend: Backend) -> AsyncIterator[Service]:
    async with Service(tmp_path, {"exporter": {"endpoint": backend.http_endpoint, "batch_timeout": "50ms"}}) as service:
        yield service


async def send(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "send", *arguments),
        env=clean_environment(directory) | dict(environment or {}),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        output, remarks = await asyncio.wait_for(process.communicate(), PATIENCE)
    except BaseException:
        process.kill()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, output.decode(), remarks.decode())


def endpoint(service: Service, protocol: str) -> str:
    return service.grpc_target if protocol == "grpc" else service.http_url


@pytest.mark.parametrize("signal", Signal, ids=lambda signal: signal.value)
async def test_what_it_says_was_accepted_is_delivered(
    tmp_path: Path, service: Service, backend: Backend, signal: Signal
) -> None:
    count = 600  # more than a request has
    for number, protocol in enumerate(PROTOCOLS, start=1):
        ended = await send(
            tmp_path,
            *("--signal", signal.value, "--protocol", protocol, "--endpoint", endpoint(service, protocol)),
            *("--count", str(count), "--compression", "gzip"),
        )
        assert (ended.code, ended.remarks) == (0, "")
        assert re.fullmatch(
            rf"600 {signal.noun} sent over {protocol} to \S+: 600 accepted, 0 refused in \d+\.\d\d s \(\d+/s\)\n",
            ended.output,
        )
        await service.settled(
            lambda scrape, number=number: scrape.books(signal).sent == number * count,  # type: ignore[misc]
            "delivered",
        )
    items = backend.items(signal)
    assert len(items) == 3 * count
    assert {item.service for item in items} == {"web", "checkout", "payment", "mailer"}


async def test_a_rate_is_kept(tmp_path: Path, service: Service) -> None:
    ended = await send(tmp_path, "--endpoint", service.http_url, "--count", "100", "--rate", "100")
    assert ended.code == 0
    [seconds] = re.findall(r"in (\d+\.\d\d) s", ended.output)
    assert float(seconds) >= 0.99


async def test_a_duration_ends_it(tmp_path: Path, service: Service) -> None:
    ended = await send(tmp_path, "--endpoint", service.http_url, "--rate", "50", "--duration", "600ms")
    assert ended.code == 0
    [accepted] = re.findall(r"(\d+) accepted, 0 refused", ended.output)
    assert 1 <= int(accepted) <= 30


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_where_nothing_listens_it_says_so_and_fails(tmp_path: Path, protocol: str) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    ended = await send(tmp_path, "--protocol", protocol, "--endpoint", nowhere, "--timeout", "700ms", "--count", "900")
    assert ended.code == 1
    assert f"512 spans sent over {protocol} to {nowhere}: 0 accepted, 512 refused in" in ended.output
    refused, gave_up = ended.remarks.splitlines()
    assert refused.startswith("otlp-service send: 512 spans refused: ")
    assert "Connection refused" in refused
    assert gave_up == "otlp-service send: gave up: nothing of the first request was accepted"


async def test_a_wrong_address_is_told_from_a_right_one(tmp_path: Path, service: Service) -> None:
    for arguments, said in (
        (["--endpoint", service.admin_url], "404 Not Found"),
        (["--endpoint", f"{service.http_url}/v1/traces"], "404 Not Found: POST /v1/traces/v1/traces"),
        (["--protocol", "grpc", "--endpoint", service.http_url], "(UNAVAILABLE|DEADLINE_EXCEEDED): "),
        (["--endpoint", f"http://{service.grpc_target}"], "(ConnectionError|ReadTimeout): "),
        (["--endpoint", service.http_url.replace("http", "https")], "SSLError: "),
    ):
        ended = await send(tmp_path, *arguments, "--timeout", "700ms")
        assert ended.code == 1, arguments
        assert re.match(f"otlp-service send: 10 spans refused: {said}", ended.remarks), arguments
        assert ended.remarks.count("\n") == 1


async def test_what_is_refused_for_good_fails(tmp_path: Path, backend: Backend) -> None:
    backend.otherwise = Grpc(grpc.StatusCode.UNAUTHENTICATED, "no key")
    ended = await send(tmp_path, "--protocol", "grpc", "--endpoint", backend.grpc_endpoint)
    assert (ended.code, ended.remarks) == (1, "otlp-service send: 10 spans refused: UNAUTHENTICATED: no key\n")
    backend.otherwise = Partial(1, "bad")
    ended = await send(tmp_path, "--endpoint", backend.http_endpoint)
    assert (ended.code, ended.remarks) == (1, "otlp-service send: 1 spans refused: rejected: bad\n")
    assert "9 accepted, 1 refused" in ended.output


async def test_it_goes_on_through_an_outage(tmp_path: Path, backend: Backend) -> None:
    refusal = Http(400, b"bad", {"Content-Type": "text/plain"})
    backend.script(Partial(0), Http(503, headers={"Retry-After": "0"}), Partial(0), refusal)
    ended = await send(tmp_path, "--endpoint", backend.http_endpoint, "--count", "2048")
    assert (ended.code, ended.remarks) == (1, "otlp-service send: 512 spans refused: 400 Bad Request: bad\n")
    assert "1536 accepted, 512 refused" in ended.output


async def test_headers_are_sent_and_the_variables_of_the_service_are_not_for_it(
    tmp_path: Path, backend: Backend
) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-secret=1",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-secret=1",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_SDK_DISABLED": "true",
    }
    for protocol, where in (("grpc", backend.grpc_endpoint), ("http/protobuf", backend.http_endpoint)):
        arguments = ("--protocol", protocol, "--endpoint", where, "--header", "x-api-key=a=b", "--header", "x-tenant=t")
        ended = await send(tmp_path, *arguments, environment=variables)
        assert (ended.code, ended.remarks) == (0, "")
    assert len(backend.spans()) == 20
    for request in backend.taken:
        assert (request.headers["x-api-key"], request.headers["x-tenant"]) == ("a=b", "t")
        assert "x-secret" not in request.headers
        assert "content-encoding" not in request.headers


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_it_speaks_tls_with_a_certificate_of_its_own(tmp_path: Path, protocol: str) -> None:
    certificates = Certificates(tmp_path)
    async with Backend(tls=certificates, mutual=True) as backend:
        where = backend.grpc_endpoint if protocol == "grpc" else backend.http_endpoint
        arguments = ("--protocol", protocol, "--endpoint", where, "--ca-file", str(certificates.ca_file))
        pair = ("--cert-file", str(certificates.client_cert_file), "--key-file", str(certificates.client_key_file))
        ended = await send(tmp_path, *arguments, *pair)
        assert (ended.code, ended.remarks) == (0, "")
        ended = await send(tmp_path, *arguments, "--timeout", "700ms")
        assert ended.code == 1
        assert len(backend.taken) == 1


async def test_wrong_usage_is_two(tmp_path: Path) -> None:
    ended = await send(tmp_path, "--endpoint", "localhost")
    assert (ended.code, ended.output) == (2, "")
    assert ended.remarks.endswith("'localhost' has no scheme; write it as http://localhost:4318 or https://…\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_it_with_a_true_summary(
    tmp_path: Path, service: Service, number: signal.Signals, code: int
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "send", "--endpoint", service.http_url, "--duration", "5m", "--rate", "200"),
        env=clean_environment(tmp_path),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        await service.settled(lambda scrape: scrape.books(Signal.TRACES).accepted > 0, "accepted")
        process.send_signal(number)
        output, remarks = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, remarks) == (code, b"")
    [(sent, accepted)] = re.findall(r"^(\d+) spans sent .*: (\d+) accepted, 0 refused", output.decode())
    scrape = await service.law()
    assert 0 < int(accepted) <= scrape.books(Signal.TRACES).accepted <= int(sent)


async def test_a_signal_does_not_wait_for_a_destination_that_does_not_answer(tmp_path: Path, backend: Backend) -> None:
    backend.otherwise = Hang()
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "send", "--endpoint", backend.http_endpoint, "--timeout", "5m"),
        env=clean_environment(tmp_path),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        await backend.received(lambda backend: len(backend.requests) == 1, timeout=PATIENCE)
        process.send_signal(signal.SIGINT)
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 130
    assert b"10 spans sent" in output
    assert b"0 accepted, 0 refused, 10 unanswered in" in output


class Terminal:
    """A terminal of `columns` columns; what is written to it is read in the background."""

    def __init__(self, columns: int) -> None:
        self._master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    async def read(self) -> str:
        """All of it, when nobody has it open any more."""
        os.close(self.slave)
        written = await asyncio.to_thread(self._read)
        os.close(self._master)
        return written.decode().replace("\r\n", "\n")

    def _read(self) -> bytes:
        pieces = []
        while True:
            try:
                pieces.append(os.read(self._master, 65536))
            except OSError:  # how Linux tells the end
                return b"".join(pieces)


@pytest.mark.alone
async def test_on_a_terminal_a_bar_moves_and_makes_room_for_the_summary(tmp_path: Path, service: Service) -> None:
    terminal = Terminal(60)
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "send", "--endpoint", service.http_url, "--count", "100", "--rate", "100"),
        env=clean_environment(tmp_path) | {"TERM": "xterm"},
        stdin=DEVNULL,
        stdout=terminal.slave,
        stderr=terminal.slave,
    )
    written = await asyncio.wait_for(terminal.read(), PATIENCE)
    assert await process.wait() == 0
    *frames, end = written.split("\r")
    assert all(len(frame) < 60 for frame in frames)
    shown = [int(part) for part in re.findall(r"\[[#.]{20}\] +(\d+)%  \d+/100 spans", written)]
    assert len(shown) > 3
    assert shown == sorted(shown)
    assert frames[-1].strip() == ""
    assert end.startswith("100 spans sent over http/protobuf to ")
    assert end.endswith("/s)\n")


@pytest.mark.alone
async def test_on_a_terminal_it_tells_what_it_tries_again(tmp_path: Path, backend: Backend) -> None:
    backend.otherwise = Http(503, b"too busy", {"Content-Type": "text/plain"})
    terminal = Terminal(120)
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "send", "--endpoint", backend.http_endpoint, "--timeout", "3s"),
        env=clean_environment(tmp_path) | {"TERM": "xterm"},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=terminal.slave,
    )
    written = await asyncio.wait_for(terminal.read(), PATIENCE)
    output, _ = await process.communicate()
    assert process.returncode == 1
    assert "0/10 spans  trying again: 503 Service Unavailable: too busy" in written
    assert written.endswith("\rotlp-service send: 10 spans refused: 503 Service Unavailable: too busy\n")
    assert output.startswith(b"10 spans sent")


async def test_its_help_imports_neither_the_sdk_nor_grpc(tmp_path: Path) -> None:
    program = """
import sys
from app.cli import main
try:
    main(["send", "--help"])
except SystemExit:
    print(sorted({"grpc", "opentelemetry", "pydantic", "requests"} & sys.modules.keys()))
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program), env=clean_environment(tmp_path), stdout=PIPE
    )
    output, _ = await process.communicate()
    assert output.decode().splitlines()[-1] == "[]"


async def test_a_service_that_starts_a_moment_later_gets_it_all(tmp_path: Path, backend: Backend) -> None:
    service = Service(tmp_path, {"exporter": {"endpoint": backend.http_endpoint}})
    sending = asyncio.create_task(send(tmp_path, "--endpoint", service.http_url, "--timeout", "30s"))
    try:
        await service.start()
        assert (await sending).code == 0
        assert await service.terminate() == 0
    finally:
        service.kill()
    await until(lambda: asyncio.sleep(0, len(backend.spans()) == 10), "delivered")
