"""`otlp-service health` asks whatever listens where the address says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.probe import main, write_address
from tests.support.ports import free_port

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@asynccontextmanager
async def listening(behaviour: Behaviour, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A server for raw bytes; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await behaviour(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            return  # the probe has gone, or the test is over
        finally:
            writer.close()

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def answer(*pieces: bytes, stay: bool = False) -> Behaviour:
    """Take a request, then answer in pieces; perhaps keep the connection open."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        if stay:
            await reader.read()

    return behave


async def health(*arguments: str) -> tuple[int, str]:
    return await asyncio.to_thread(main, list(arguments))


async def test_ready_is_zero() -> None:
    async with listening(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) as port:
        write_address("127.0.0.1", port)
        assert await health() == (0, f"ready: 127.0.0.1:{port}")


async def test_the_path_and_the_place_are_asked_for() -> None:
    asked: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async with listening(behave) as port:
        write_address("127.0.0.1", port)
        await health()
        await health("--url", f"http://127.0.0.1:{port}/other?a=b")
        await health(f"--url=http://127.0.0.1:{port}")
    host = f" HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
    assert asked == [b"GET /health/ready" + host, b"GET /other?a=b" + host, b"GET /health/ready" + host]


async def test_not_ready_is_one_with_what_was_answered_in_one_line() -> None:
    body = b'{"status": "draining",\n  "why": "SIGTERM"}'
    async with listening(answer(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", body)) as port:
        write_address("127.0.0.1", port)
        assert await health() == (
            1,
            f'not ready: 127.0.0.1:{port} answered 503: {{"status": "draining", "why": "SIGTERM"}}',
        )


async def test_an_answer_without_a_body_is_told_by_its_status() -> None:
    async with listening(answer(b"HTTP/1.0 404 Not Found\r\n\r\n")) as port:
        assert await health("--url", f"http://127.0.0.1:{port}/") == (1, f"not ready: 127.0.0.1:{port} answered 404")


async def test_a_long_answer_is_cut() -> None:
    async with listening(answer(b"HTTP/1.1 500 Oops\r\n\r\n", b"x" * 1000)) as port:
        _, line = await health("--url", f"http://127.0.0.1:{port}/")
        assert line.endswith("500: " + "x" * 300 + "…")


async def test_an_answer_without_end_is_not_read_for_ever() -> None:
    async def behave(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()

    async with listening(behave) as port:
        assert await health("--url", f"http://127.0.0.1:{port}/") == (0, f"ready: 127.0.0.1:{port}")


@pytest.mark.parametrize("length", [b"Content-Length: 2", b"content-length:2"])
async def test_a_whole_answer_on_a_connection_that_stays_open_is_enough(length: bytes) -> None:
    pieces = b"HTTP/1.1 200 OK\r\n" + length + b"\r\n", b"\r\n{", b"}"
    async with listening(answer(*pieces, stay=True)) as port:
        assert (await health("--timeout=10", "--url", f"http://127.0.0.1:{port}/"))[0] == 0


@pytest.mark.parametrize(("left", "asked"), [("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("::", "::1")])
async def test_a_server_on_every_address_is_asked_on_this_machine(left: str, asked: str) -> None:
    place = f"[{asked}]" if ":" in asked else asked
    async with listening(answer(b"HTTP/1.1 200 OK\r\n\r\n"), asked) as port:
        write_address(left, port)
        assert await health() == (0, f"ready: {place}:{port}")


async def test_names_and_ipv6_addresses_can_be_asked() -> None:
    async with listening(answer(b"HTTP/1.1 200 OK\r\n\r\n"), "::1") as port:
        assert await health("--url", f"http://[::1]:{port}/") == (0, f"ready: [::1]:{port}")
    async with listening(answer(b"HTTP/1.1 200 OK\r\n\r\n"), "localhost") as port:
        assert await health("--url", f"http://localhost:{port}/") == (0, f"ready: localhost:{port}")


async def test_nothing_that_listens_is_told_with_what_to_start() -> None:
    port = free_port()
    write_address("0.0.0.0", port)
    line = f"not ready: nothing listens on 127.0.0.1:{port}; is `otlp-service serve` running?"
    assert await health() == (1, line)


async def test_a_server_that_hangs_is_given_up() -> None:
    async with listening(answer(stay=True)) as port:
        write_address("127.0.0.1", port)
        assert await health("--timeout=0.2s") == (1, f"not ready: no answer from 127.0.0.1:{port} within 0.2 s")


async def test_a_server_that_drips_is_given_up_at_the_same_time() -> None:
    async def behave(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with listening(behave) as port:
        code, line = await health("--timeout=0.2", "--url", f"http://127.0.0.1:{port}/")
        assert (code, line) == (1, f"not ready: no answer from 127.0.0.1:{port} within 0.2 s")


@pytest.mark.parametrize(
    "text", [b"", b"SSH-2.0\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 OK\r\n\r\n", b"\x15\x03\x01\x00"]
)
async def test_what_is_not_http_is_not_ready(text: bytes) -> None:
    async with listening(answer(text)) as port:
        assert await health("--url", f"http://127.0.0.1:{port}/") == (
            1,
            f"not ready: 127.0.0.1:{port} does not speak HTTP",
        )


async def test_a_name_that_nothing_can_have_is_told() -> None:
    name = "x" * 300
    code, line = await health("--url", f"http://{name}:9090/")
    assert code == 1
    assert line.startswith(f"not ready: {name}:9090 cannot be asked: ")
