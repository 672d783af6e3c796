"""TLS of both receivers over real sockets: who is let in, and what becomes of it when the files change."""

import asyncio
import errno
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import grpc
import grpc.aio
import pytest

from app.core.clock import SystemClock
from app.core.request import Signal
from app.health import Health
from app.receivers.grpc import GrpcReceiver
from app.receivers.http import HttpReceiver
from app.receivers.http_bounds import Bounds, State
from app.receivers.http_tls import TlsDoor
from app.receivers.tls import ServerTls
from app.settings import ServerSettings, ServerTlsSettings
from app.telemetry.metrics import Metrics
from tests.support.certificates import Certificates
from tests.support.patience import PATIENCE
from tests.support.payload import spans
from tests.support.process import until
from tests.support.sink import Sink

HEAD = (
    b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\ncontent-length: %d\r\n\r\n"
)


class HandClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Doors:
    """Both receivers behind the files `cert`, `key` and `ca` of a directory, and clients of theirs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificates = self.authority("first")
        self.clock = HandClock()
        self.metrics = Metrics("0")
        self.sink = Sink()
        self.http_port = self.grpc_port = 0

    def authority(self, name: str) -> Certificates:
        (self.directory / name).mkdir()
        return Certificates(self.directory / name)

    def show(self, certificates: Certificates) -> None:
        """Put the server's certificate and key of an authority in place."""
        shutil.copy(certificates.server_cert_file, self.directory / "cert")
        shutil.copy(certificates.server_key_file, self.directory / "key")
        self.clock.seconds += 1

    def trust(self, certificates: Certificates) -> None:
        """Have clients that an authority vouches for let in."""
        shutil.copy(certificates.ca_file, self.directory / "ca")
        self.clock.seconds += 1

    def reloads(self, outcome: str) -> float:
        labels = {"file": "server.tls", "outcome": outcome}
        return self.metrics.registry.get_sample_value("otlp_config_reloads_total", labels) or 0

    async def https(self, server: Certificates, client: Certificates | None = None) -> str:
        """Send a request over HTTP: the first line of the answer, or what kind of error came of it."""
        try:
            reader, writer = await self.connect(context_of(server, client))
            writer.write(HEAD % len(spans(1)) + spans(1))
            line = await reader.readline()
        except (ssl.SSLError, ConnectionError) as error:
            return "untrusted" if isinstance(error, ssl.SSLCertVerificationError) else "turned away"
        writer.close()
        return line.decode().strip() or "turned away"

    async def connect(self, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.open_connection("127.0.0.1", self.http_port, ssl=context, server_hostname="localhost")

    def channel(self, server: Certificates, client: Certificates | None = None) -> grpc.aio.Channel:
        shown = (
            (None, None)
            if client is None
            else (client.client_key_file.read_bytes(), client.client_cert_file.read_bytes())
        )
        credentials = grpc.ssl_channel_credentials(server.ca_file.read_bytes(), *shown)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "localhost")]
        return grpc.aio.secure_channel(f"127.0.0.1:{self.grpc_port}", credentials, options=options)

    async def call(self, server: Certificates, client: Certificates | None = None) -> str:
        """Send a request over gRPC: the name of its status."""
        async with self.channel(server, client) as channel:
            return await call(channel)


async def call(channel: grpc.aio.Channel) -> str:
    try:
        await channel.unary_unary(Signal.TRACES.method)(spans(1), timeout=PATIENCE)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


def context_of(server: Certificates, client: Certificates | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=server.ca_file)
    if client is not None:
        context.load_cert_chain(client.client_cert_file, client.client_key_file)
    return context


@pytest.fixture
async def make_doors(tmp_path: Path) -> AsyncIterator[Callable[..., "asyncio.Future[Doors]"]]:
    doors = Doors(tmp_path)
    opened: list[HttpReceiver | GrpcReceiver] = []

    async def make(*, mutual: bool = False, **settings: object) -> Doors:
        doors.show(doors.certificates)
        doors.trust(doors.certificates)
        files = {"cert_file": tmp_path / "cert", "key_file": tmp_path / "key"}
        files |= {"client_ca_file": tmp_path / "ca"} if mutual else {}
        values = {"host": "127.0.0.1", "port": 0, "grpc_port": 0, **settings}
        server = ServerSettings.model_validate(values)
        health = Health("0", SystemClock())
        health.ready_now()
        tls = ServerTls(ServerTlsSettings.model_validate(files), doors.metrics, doors.clock)
        http = HttpReceiver(server, doors.sink, doors.metrics, health, tls=tls)
        grpc_receiver = GrpcReceiver(server, doors.sink, doors.metrics, health, tls=tls)
        for receiver in (http, grpc_receiver):
            await receiver.__aenter__()
            opened.append(receiver)
        doors.http_port, doors.grpc_port = http.port, grpc_receiver.port
        return doors

    yield make  # type: ignore[misc]  # a coroutine function
    for receiver in opened:
        await receiver.__aexit__(None, None, None)


Make = Callable[..., "asyncio.Future[Doors]"]
OK = "HTTP/1.1 200 OK"


async def test_who_trusts_the_authority_may_send(make_doors: Make) -> None:
    doors = await make_doors()
    assert await doors.https(doors.certificates) == OK
    assert await doors.call(doors.certificates) == "OK"
    assert doors.sink.items(Signal.TRACES) == 2


async def test_who_speaks_without_tls_gets_nowhere(make_doors: Make) -> None:
    doors = await make_doors()
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.http_port)
    writer.write(HEAD % 0)
    async with asyncio.timeout(PATIENCE):
        assert b"HTTP" not in await reader.read()
    writer.close()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{doors.grpc_port}") as channel:
        assert await call(channel) == "UNAVAILABLE"
    assert not doors.sink.requests


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.parametrize("port", ["http_port", "grpc_port"])
async def test_nothing_below_tls_1_2_is_spoken(make_doors: Make, port: str) -> None:
    doors = await make_doors()

    async def version(newest: ssl.TLSVersion) -> str | None:
        context = context_of(doors.certificates)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
        context.set_alpn_protocols(["h2", "http/1.1"])
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", getattr(doors, port), ssl=context, server_hostname="localhost"
            )
        writer.close()
        found: str | None = writer.get_extra_info("ssl_object").version()
        return found

    assert await version(ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    assert await version(ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await version(ssl.TLSVersion.TLSv1_1)


async def test_with_an_authority_for_clients_only_those_that_it_vouches_for_may_send(make_doors: Make) -> None:
    doors = await make_doors(mutual=True)
    ours, strangers = doors.certificates, doors.authority("strangers")
    assert (await doors.https(ours, ours), await doors.call(ours, ours)) == (OK, "OK")
    assert (await doors.https(ours, strangers), await doors.call(ours, strangers)) == ("turned away", "UNAVAILABLE")
    assert (await doors.https(ours), await doors.call(ours)) == ("turned away", "UNAVAILABLE")
    assert doors.sink.items(Signal.TRACES) == 2


async def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_live_on(make_doors: Make) -> None:
    doors = await make_doors()
    old, new = doors.certificates, doors.authority("new")
    reader, writer = await doors.connect(context_of(old))
    async with doors.channel(old) as channel:
        assert await call(channel) == "OK"
        doors.show(new)
        assert (await doors.https(new), await doors.call(new)) == (OK, "OK")
        assert (await doors.https(old), await doors.call(old)) == ("untrusted", "UNAVAILABLE")
        assert await call(channel) == "OK"
        writer.write(HEAD % len(spans(1)) + spans(1))
        assert (await reader.readline()).decode().strip() == OK
        writer.close()
    assert (doors.reloads("success"), doors.reloads("failure")) == (1, 0)


async def test_an_authority_that_is_replaced_is_trusted_no_more(make_doors: Make) -> None:
    doors = await make_doors(mutual=True)
    server, new = doors.certificates, doors.authority("new")
    session = context_of(server, server)  # one context: a client would resume its session if it could
    for expected in ([OK], []):
        lines = []
        try:
            reader, writer = await doors.connect(session)
            writer.write(HEAD % len(spans(1)) + spans(1))
            lines = [line for line in [(await reader.readline()).decode().strip()] if line]
            writer.close()
        except (ssl.SSLError, ConnectionError):
            assert expected == []
        assert lines == expected
        doors.trust(new)
    assert await doors.call(server, server) == "UNAVAILABLE"
    assert (await doors.https(server, new), await doors.call(server, new)) == (OK, "OK")


@pytest.mark.parametrize("broken", ["cert", "key", "ca"])
async def test_files_that_do_not_load_leave_the_old_ones_in_force(
    make_doors: Make, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    doors = await make_doors(mutual=True)
    old, new = doors.certificates, doors.authority("new")
    (doors.directory / broken).write_text("half a file")
    for _ in range(3):
        doors.clock.seconds += 1
        assert (await doors.https(old, old), await doors.call(old, old)) == (OK, "OK")
    assert caplog.text.count("cannot be read again, what it held stays in force: server.tls.") == 1
    assert (doors.reloads("success"), doors.reloads("failure")) == (0, 1)
    doors.show(new)
    doors.trust(new)
    assert (await doors.https(new, new), await doors.call(new, new)) == (OK, "OK")
    assert doors.reloads("success") == 1


async def test_who_never_says_hello_is_sent_away(make_doors: Make) -> None:
    doors = await make_doors(header_timeout=0.2)
    for port in (doors.http_port, doors.grpc_port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(PATIENCE):
            await reader.read()
        writer.close()


async def test_who_sends_too_much_can_read_that_it_does(make_doors: Make) -> None:
    doors = await make_doors(max_request_size=1 << 20, max_json_size=1 << 20)
    reader, writer = await doors.connect(context_of(doors.certificates))
    writer.write(HEAD % (64 << 20))
    for _ in range(64):
        writer.write(bytes(1 << 16))
    async with asyncio.timeout(PATIENCE):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()


def test_a_certificate_tells_when_it_ends(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    files = ServerTlsSettings(cert_file=certificates.server_cert_file, key_file=certificates.server_key_file)
    described = ssl._ssl._test_decode_cert(str(certificates.server_cert_file))  # type: ignore[attr-defined]
    assert ServerTls(files, Metrics("0")).expires == ssl.cert_time_to_seconds(described["notAfter"])


async def test_no_session_that_an_authority_of_the_past_let_begin_is_resumed(make_doors: Make) -> None:
    doors = await make_doors(mutual=True)
    ours = doors.certificates
    context = context_of(ours, ours)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # whose servers remember sessions by themselves
    session: ssl.SSLSession | None = None

    def post() -> tuple[str, bool | None]:
        nonlocal session
        with socket.create_connection(("127.0.0.1", doors.http_port), PATIENCE) as plain:
            try:
                with context.wrap_socket(plain, server_hostname="localhost", session=session) as secure:
                    session = secure.session
                    secure.sendall(HEAD % len(spans(1)) + spans(1))
                    return secure.recv(100).decode().partition("\r\n")[0], secure.session_reused
            except (ssl.SSLError, ConnectionError):
                return "", None

    assert (await asyncio.to_thread(post))[0] == OK
    doors.trust(doors.authority("new"))
    assert (await asyncio.to_thread(post))[0] == ""
    assert doors.sink.items(Signal.TRACES) == 1


async def test_those_who_connect_and_stay_silent_are_counted_too(make_doors: Make) -> None:
    doors = await make_doors(max_connections=1, header_timeout=3600)
    for port, bound in ((doors.http_port, 1 + 16), (doors.grpc_port, 1)):
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        ends = [asyncio.create_task(ended(reader)) for reader, _ in clients]
        async with asyncio.timeout(PATIENCE):
            while sum(end.done() for end in ends) < len(clients) - bound:
                await asyncio.wait([end for end in ends if not end.done()], return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        for _, writer in clients:
            writer.close()

    async def room_again() -> bool:
        return await doors.https(doors.certificates) == OK

    await until(room_again, "those who left make room")


async def ended(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        await reader.read()


async def test_handshakes_that_fail_are_not_worth_a_line(make_doors: Make, caplog: pytest.LogCaptureFixture) -> None:
    doors = await make_doors()
    for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(500), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(99)):
        for leaves in (False, True):
            reader, writer = await asyncio.open_connection("127.0.0.1", doors.http_port)
            writer.write(data)
            if leaves:
                await writer.drain()
                writer.transport.abort()
            else:
                writer.write_eof()
                async with asyncio.timeout(PATIENCE):
                    await ended(reader)
                writer.close()
    assert await doors.https(doors.certificates) == OK
    assert not caplog.messages


async def test_what_cannot_be_accepted_is_accepted_later_and_handshakes_end_with_the_door(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [ConnectionAbortedError(), OSError(errno.EMFILE, "Too many open files")]

    class Faulty(socket.socket):
        """A listener with errors that come and go."""

        def accept(self) -> tuple[socket.socket, object]:
            if errors:
                raise errors.pop(0)
            return super().accept()

    certificates = Certificates(tmp_path)
    made = asyncio.Event()

    class Client(asyncio.Protocol):
        def connection_made(self, _: asyncio.BaseTransport) -> None:
            made.set()

    with Faulty() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        state = State(Bounds(1, PATIENCE, PATIENCE, PATIENCE))
        door = TlsDoor(listener, Client, state, certificates.server_context(mutual=False))
        accepting = asyncio.create_task(door.accept())
        async with asyncio.timeout(PATIENCE):
            silent, silence = await asyncio.open_connection(*listener.getsockname())
            _, writer = await asyncio.open_connection(
                *listener.getsockname(), ssl=context_of(certificates), server_hostname="localhost"
            )
            await made.wait()
            writer.close()
            accepting.cancel()
            await asyncio.wait([accepting])
            await ended(silent)
        silence.close()
    assert caplog.messages == ["cannot accept a connection, for now: [Errno 24] Too many open files"]
