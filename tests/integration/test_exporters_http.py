"""The OTLP/HTTP exporter against a scripted destination on real sockets."""

import asyncio
import gzip
import json
import logging
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest

from app.core.errors import InvalidData, NotAllowed, OtlpError, PartlyRejected, Retryable, TooLarge
from app.core.instance import HEADER, Instance
from app.core.request import ExportRequest, Signal
from app.exporters import Exporter, make_exporter
from app.settings import ExporterSettings, TlsSettings
from app.telemetry.metrics import Metrics
from tests.support.backend import Backend
from tests.support.certificates import Certificates
from tests.support.exchange import Answer, Close, Delay, Hang, Http, Partial, Raw, Reset, Success, status
from tests.support.load import spans_request
from tests.support.patience import PATIENCE
from tests.support.peak import peak_growth
from tests.support.streams import StreamServer

PROTOBUF = {"Content-Type": "application/x-protobuf"}
SMALL = ExportRequest(Signal.TRACES, spans_request(1, 10), 10)
ANSWER = 4 << 20  # bytes of an answer that are read
LARGE = ExportRequest(Signal.TRACES, spans_request(1, 10_000), 10_000)  # 3 MB


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend() as backend:
        yield backend


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test")


@pytest.fixture
async def exporter(backend: Backend, metrics: Metrics) -> AsyncIterator[Exporter]:
    async with make_exporter(ExporterSettings(endpoint=backend.http_endpoint), metrics, "1.2.3") as exporter:
        yield exporter


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def count(metrics: Metrics, code: str) -> float | None:
    return metrics.registry.get_sample_value("otlp_exporter_requests_total", {"signal": "traces", "code": code})


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port where connecting takes for ever: nobody accepts, and the kernel keeps no more that wait."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@asynccontextmanager
async def served(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """The port of a server that speaks as `talk` does, and then hangs up."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talk(reader, writer)
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await ended.wait()


@asynccontextmanager
async def endless(head: bytes, piece: bytes) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The endpoint of a server that answers `head` and then `piece` for ever; what is set when a client hangs up."""
    hung_up = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        try:
            while True:
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            hung_up.set()

    async with StreamServer(talk) as server:
        yield f"http://127.0.0.1:{server.port}", hung_up


async def refusal(exporter: Exporter, request: ExportRequest = SMALL) -> OtlpError:
    with pytest.raises(OtlpError) as raised:
        await exporter.consume(request)
    return raised.value


class TestRequest:
    @pytest.mark.parametrize("request_", [SMALL, LARGE], ids=["small", "large"])
    @pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
    async def test_body_arrives_byte_for_byte(
        self, backend: Backend, metrics: Metrics, compression: str, request_: ExportRequest
    ) -> None:
        settings = ExporterSettings.model_validate({"endpoint": backend.http_endpoint, "compression": compression})
        async with make_exporter(settings, metrics, "1.2.3") as exporter:
            await exporter.consume(request_)
        (received,) = backend.taken
        assert received.body == request_.body
        assert (received.wire == request_.body) == (compression == "none")
        assert received.headers.get("content-encoding") == (None if compression == "none" else compression)
        assert received.headers["content-length"] == str(len(received.wire))

    async def test_each_request_names_the_instances_that_it_has_passed(
        self, backend: Backend, metrics: Metrics
    ) -> None:
        instance, other = Instance(), Instance()
        async with make_exporter(
            ExporterSettings(endpoint=backend.http_endpoint), metrics, "1", instance=instance
        ) as exporter:
            await exporter.consume(SMALL)
            instance.came_from(Signal.TRACES, other.name)
            await exporter.consume(SMALL)
            await exporter.consume(ExportRequest(Signal.LOGS, b"", 0))
        named = [received.headers[HEADER] for received in backend.requests]
        assert named == [instance.name, f"{instance.name},{other.name}", instance.name]

    async def test_headers_say_who_sends_what(self, backend: Backend, exporter: Exporter) -> None:
        await exporter.consume(SMALL)
        headers = backend.requests[0].headers
        assert headers["user-agent"] == "otlp-service/1.2.3"
        assert headers["content-type"] == "application/x-protobuf"
        assert headers["accept-encoding"] == "identity"

    @pytest.mark.parametrize("signal", Signal)
    async def test_each_signal_has_its_path(self, backend: Backend, exporter: Exporter, signal: Signal) -> None:
        await exporter.consume(ExportRequest(signal, b"", 0))
        assert [received.signal for received in backend.taken] == [signal]

    async def test_an_endpoint_of_a_signal_is_used_as_it_is(self, backend: Backend, metrics: Metrics) -> None:
        async with Backend() as other:
            settings = ExporterSettings(
                endpoint=backend.http_endpoint, logs_endpoint=f"{other.http_endpoint}/tenant/v1/logs"
            )
            async with make_exporter(settings, metrics, "1") as exporter:
                await exporter.consume(ExportRequest(Signal.LOGS, b"", 0))
            assert len(other.taken) == 1
        assert not backend.requests

    async def test_headers_come_from_the_configuration_and_a_file_that_may_change(
        self, backend: Backend, metrics: Metrics, tmp_path: Path
    ) -> None:
        secrets = tmp_path / "headers"
        secrets.write_text("authorization: Bearer one\n")
        settings = ExporterSettings(endpoint=backend.http_endpoint, headers={"X-Tenant": "shop"}, headers_file=secrets)
        async with make_exporter(settings, metrics, "1") as exporter:
            await exporter.consume(SMALL)
            secrets.write_text("authorization: Bearer another\n")
            async with asyncio.timeout(PATIENCE):
                while backend.requests[-1].headers["authorization"] != "Bearer another":
                    await exporter.consume(SMALL)
                    await asyncio.sleep(0.05)
        assert backend.requests[0].headers["authorization"] == "Bearer one"
        assert {received.headers["x-tenant"] for received in backend.requests} == {"shop"}

    async def test_credentials_in_the_url_become_a_header_and_no_part_of_a_message(
        self, backend: Backend, metrics: Metrics
    ) -> None:
        settings = ExporterSettings(endpoint=backend.http_endpoint.replace("//", "//user:s3cret@"))
        backend.script(Success(), Http(401))
        async with make_exporter(settings, metrics, "1") as exporter:
            await exporter.consume(SMALL)
            error = await refusal(exporter)
        assert backend.requests[0].headers["authorization"] == "Basic " + b64encode(b"user:s3cret").decode()
        assert "s3cret" not in str(error)

    async def test_cookies_are_not_kept(self, backend: Backend, exporter: Exporter) -> None:
        backend.script(Http(200, headers={"Set-Cookie": "session=1; Path=/"}))
        await exporter.consume(SMALL)
        await exporter.consume(SMALL)
        assert "cookie" not in backend.requests[1].headers

    async def test_a_proxy_of_the_environment_is_not_used(
        self, backend: Backend, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        await exporter.consume(SMALL)
        assert len(backend.taken) == 1

    async def test_connections_are_kept_and_shared(self, backend: Backend, exporter: Exporter) -> None:
        backend.otherwise = Delay(0.05)
        for _ in range(2):
            await asyncio.gather(*(exporter.consume(SMALL) for _ in range(5)))
        assert len({received.peer for received in backend.requests}) == 5


class TestSuccess:
    @pytest.mark.parametrize("code", [200, 202, 204, 299])
    async def test_every_2xx_is_one(self, backend: Backend, exporter: Exporter, metrics: Metrics, code: int) -> None:
        backend.script(Raw(f"HTTP/1.1 {code} Whatever\r\nContent-Length: 0\r\n\r\n".encode()))
        await exporter.consume(SMALL)
        assert count(metrics, str(code)) == 1
        duration = "otlp_exporter_request_duration_seconds_count"
        assert metrics.registry.get_sample_value(duration, {"signal": "traces"}) == 1

    @pytest.mark.parametrize("json_", [False, True], ids=["protobuf", "json"])
    @pytest.mark.parametrize("signal", Signal)
    async def test_in_part_tells_how_many_items_were_rejected(
        self, backend: Backend, exporter: Exporter, signal: Signal, json_: bool
    ) -> None:
        backend.script(Partial(3, "too old", json=json_))
        error = await refusal(exporter, ExportRequest(signal, b"", 10))
        assert isinstance(error, PartlyRejected)
        assert error.items == 3
        assert str(error) == f'{backend.http_endpoint}{signal.path} rejected 3 of 10 {signal.noun}: "too old"'

    async def test_with_a_remark_only_is_one(
        self, backend: Backend, exporter: Exporter, caplog: pytest.LogCaptureFixture
    ) -> None:
        backend.script(Partial(0, "deprecated attribute"))
        await exporter.consume(SMALL)
        assert "deprecated attribute" in caplog.text

    @pytest.mark.parametrize(
        "answer",
        [
            Http(200, b"\xff\xff", PROTOBUF),
            Http(200, b"{", {"Content-Type": "application/json"}),
            Http(200, b"OK", {"Content-Type": "text/plain"}),
            Http(200, b"\xff\xff"),
            Http(200, b"\xff" * (5 << 20), PROTOBUF),
            Http(200, gzip.compress(bytes(64 << 20)), {**PROTOBUF, "Content-Encoding": "gzip"}),
            Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
        ],
        ids=["broken protobuf", "broken JSON", "text", "no type", "5 MiB", "64 MiB in gzip", "broken off"],
    )
    async def test_with_a_body_that_says_nothing_is_one(
        self, backend: Backend, exporter: Exporter, caplog: pytest.LogCaptureFixture, answer: Answer
    ) -> None:
        backend.script(answer)
        with caplog.at_level(logging.DEBUG, "app.exporters"):
            await exporter.consume(SMALL)
            await exporter.consume(SMALL)
        assert len(backend.requests) == 2
        assert [record.levelname for record in caplog.records][:1] == ["DEBUG"]


class TestBounds:
    async def test_an_answer_is_read_up_to_its_bound_and_not_a_byte_further(
        self, backend: Backend, exporter: Exporter
    ) -> None:
        overhead = len(Partial(1, "x" * ANSWER).to_protobuf(Signal.TRACES)) - ANSWER
        backend.script(Partial(1, "x" * (ANSWER - overhead)), Partial(1, "x" * (ANSWER - overhead + 1)))
        assert isinstance(await refusal(exporter), PartlyRejected)
        await exporter.consume(SMALL)

    @pytest.mark.parametrize("status_line", ["200 OK", "503 Service Unavailable"])
    @pytest.mark.parametrize("chunked", [False, True], ids=["", "chunked"])
    async def test_an_answer_without_an_end_is_hung_up_on_and_costs_little(
        self, metrics: Metrics, status_line: str, *, chunked: bool
    ) -> None:
        head = f"HTTP/1.1 {status_line}\r\n" + "transfer-encoding: chunked\r\n" * chunked + "\r\n"
        piece = b"10000\r\n%b\r\n" % bytes(0x10000) if chunked else bytes(0x10000)
        async with (
            endless(head.encode(), piece) as (endpoint, hung_up),
            make_exporter(ExporterSettings(endpoint=endpoint), metrics, "1") as exporter,
        ):
            with peak_growth() as peak:
                if status_line == "200 OK":
                    await exporter.consume(SMALL)
                else:
                    assert isinstance(await refusal(exporter), NotAllowed)
                async with asyncio.timeout(PATIENCE):
                    await hung_up.wait()
        assert peak.growth < 32 << 20

    @pytest.mark.parametrize("piece", [b"x: y\r\n", b"y" * 64], ids=["headers", "a header"])
    async def test_an_answer_whose_head_has_no_end_is_hung_up_on_and_may_come_again(
        self, metrics: Metrics, piece: bytes
    ) -> None:
        async with (
            endless(b"HTTP/1.1 200 OK\r\nx: ", piece * 1000) as (endpoint, hung_up),
            make_exporter(ExporterSettings(endpoint=endpoint), metrics, "1") as exporter,
        ):
            with peak_growth() as peak:
                assert isinstance(await refusal(exporter), Retryable)
                async with asyncio.timeout(PATIENCE):
                    await hung_up.wait()
        assert peak.growth < 32 << 20


class TestRefusal:
    @pytest.mark.parametrize("code", [429, 502, 503, 504])
    async def test_that_passes_is_retryable(
        self, backend: Backend, exporter: Exporter, metrics: Metrics, code: int
    ) -> None:
        backend.script(Http(code, status("busy"), PROTOBUF))
        error = await refusal(exporter)
        assert isinstance(error, Retryable)
        assert error.delay is None
        assert '"busy"' in str(error)
        assert count(metrics, str(code)) == 1

    @pytest.mark.parametrize(
        ("headers", "body", "delay"),
        [
            ({"Retry-After": "7"}, b"", 7),
            ({"Retry-After": formatdate(1e9 + 9, usegmt=True), "Date": formatdate(1e9, usegmt=True)}, b"", 9),
            (PROTOBUF, status("busy", 2.5), 2.5),
            ({**PROTOBUF, "Retry-After": "1"}, status("busy", 2.5), 2.5),
        ],
        ids=["seconds", "date", "RetryInfo", "both"],
    )
    async def test_tells_how_long_to_wait(
        self, backend: Backend, exporter: Exporter, headers: dict[str, str], body: bytes, delay: float
    ) -> None:
        backend.script(Http(503, body, headers))
        error = await refusal(exporter)
        assert isinstance(error, Retryable)
        assert error.delay == delay

    async def test_until_a_date_is_a_wait_by_our_own_clock(self, backend: Backend, exporter: Exporter) -> None:
        backend.script(Http(503, headers={"Retry-After": "Fri, 31 Dec 2999 23:59:59 GMT"}))
        error = await refusal(exporter)
        assert isinstance(error, Retryable)
        assert error.delay is not None
        assert error.delay > 1e9

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            (400, InvalidData),
            (401, NotAllowed),
            (403, NotAllowed),
            (404, NotAllowed),
            (405, NotAllowed),
            (413, TooLarge),
            (415, NotAllowed),
            (422, InvalidData),
            (500, InvalidData),
            (501, NotAllowed),
        ],
    )
    async def test_for_good_is_told_by_whom_it_concerns(
        self, backend: Backend, exporter: Exporter, metrics: Metrics, code: int, kind: type[OtlpError]
    ) -> None:
        message = json.dumps({"message": "no, because"}).encode()
        backend.script(Http(code, message, {"Content-Type": "application/json"}))
        error = await refusal(exporter)
        assert type(error) is kind
        assert '"no, because"' in str(error)
        assert count(metrics, str(code)) == 1
        assert len(backend.requests) == 1

    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    async def test_by_a_redirect_sends_nothing_elsewhere(self, backend: Backend, metrics: Metrics, code: int) -> None:
        async with Backend() as elsewhere:
            location = f"{elsewhere.http_endpoint}/v1/traces"
            backend.script(Http(code, headers={"Location": location}))
            settings = ExporterSettings(endpoint=backend.http_endpoint, headers={"authorization": "Bearer one"})
            async with make_exporter(settings, metrics, "1") as exporter:
                error = await refusal(exporter)
            assert isinstance(error, NotAllowed)
            assert location in str(error)
            assert not elsewhere.requests

    async def test_before_the_body_was_read_counts(self, metrics: Metrics) -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await reader.read()

        async with served(refuse) as port:
            settings = ExporterSettings(endpoint=f"http://127.0.0.1:{port}", compression="none")
            async with make_exporter(settings, metrics, "1") as exporter, asyncio.timeout(PATIENCE):
                assert isinstance(await refusal(exporter, LARGE), TooLarge)


class TestConnection:
    async def test_refused_is_retryable(self, backend: Backend, exporter: Exporter, metrics: Metrics) -> None:
        await backend.stop()
        error = await refusal(exporter)
        assert isinstance(error, Retryable)
        assert error.reason == "unavailable"
        assert str(error).endswith("/v1/traces: no connection: Connection refused")
        assert count(metrics, "connection") == 1

    async def test_that_comes_back_on_the_same_port_is_used(self, backend: Backend, exporter: Exporter) -> None:
        await exporter.consume(SMALL)
        await backend.stop()
        assert isinstance(await refusal(exporter), Retryable)
        await backend.start()
        await exporter.consume(SMALL)
        assert len(backend.taken) == 2

    @pytest.mark.parametrize("answer", [Reset(), Close()], ids=["reset", "closed"])
    async def test_broken_before_the_first_answer_is_retryable(
        self, backend: Backend, exporter: Exporter, metrics: Metrics, answer: Answer
    ) -> None:
        backend.script(answer)
        assert isinstance(await refusal(exporter), Retryable)
        assert len(backend.requests) == 1
        assert count(metrics, "connection") == 1

    @pytest.mark.parametrize("answer", [Reset(), Close()], ids=["reset", "closed"])
    @pytest.mark.parametrize("request_", [SMALL, LARGE], ids=["small", "large"])
    async def test_kept_alive_that_breaks_is_no_failure(
        self, backend: Backend, exporter: Exporter, metrics: Metrics, answer: Answer, request_: ExportRequest
    ) -> None:
        backend.script(Success(), answer)
        await exporter.consume(request_)
        await exporter.consume(request_)
        first, broken, again = backend.requests
        assert first.peer == broken.peer != again.peer
        assert again.body == request_.body
        assert count(metrics, "200") == 2
        assert count(metrics, "connection") is None

    async def test_kept_alive_that_breaks_is_replaced_only_once(
        self, backend: Backend, exporter: Exporter, metrics: Metrics
    ) -> None:
        backend.script(Success(), Close(), Close())
        await exporter.consume(SMALL)
        assert isinstance(await refusal(exporter), Retryable)
        assert len(backend.requests) == 3
        assert count(metrics, "connection") == 1

    async def test_kept_alive_that_breaks_is_replaced_by_a_new_one_though_others_are_idle(
        self, backend: Backend, exporter: Exporter
    ) -> None:
        backend.otherwise = Delay(0.05)
        await asyncio.gather(*(exporter.consume(SMALL) for _ in range(3)))
        known = {received.peer for received in backend.requests}
        backend.script(Close())
        await exporter.consume(SMALL)
        assert len(known) == 3
        assert backend.requests[-1].peer not in known

    async def test_to_what_does_not_speak_http_is_retryable_with_a_remedy(
        self, backend: Backend, exporter: Exporter
    ) -> None:
        backend.script(Raw(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"))
        error = await refusal(exporter)
        assert isinstance(error, Retryable)
        assert "exporter.protocol" in str(error)

    async def test_that_takes_too_long_is_retryable(self, metrics: Metrics) -> None:
        with full_backlog() as port:
            settings = ExporterSettings(endpoint=f"http://127.0.0.1:{port}", timeout=0.2)
            async with make_exporter(settings, metrics, "1") as exporter:
                error = await refusal(exporter)
        assert isinstance(error, Retryable)
        assert "no connection in time" in str(error)
        assert count(metrics, "timeout") == 1


class TestCancelling:
    async def test_aborts_the_request(self, backend: Backend, exporter: Exporter, metrics: Metrics) -> None:
        backend.script(Hang())
        exporting = asyncio.create_task(exporter.consume(SMALL))
        await backend.received(lambda backend: len(backend.requests) == 1)
        exporting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exporting
        await backend.received(lambda backend: len(backend.abandoned) == 1)
        assert count(metrics, "cancelled") == 1
        await exporter.consume(SMALL)
        assert backend.requests[1].peer != backend.requests[0].peer

    async def test_when_the_time_is_up_counts_as_a_timeout(self, backend: Backend, metrics: Metrics) -> None:
        backend.script(Hang())
        settings = ExporterSettings(endpoint=backend.http_endpoint, timeout=1)
        async with make_exporter(settings, metrics, "1") as exporter:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(settings.timeout):
                    await exporter.consume(SMALL)
        assert count(metrics, "timeout") == 1


class TestTls:
    @pytest.fixture
    async def secured(self, certificates: Certificates) -> AsyncIterator[Backend]:
        async with Backend(tls=certificates) as backend:
            yield backend

    @pytest.fixture
    async def mutual(self, certificates: Certificates) -> AsyncIterator[Backend]:
        async with Backend(tls=certificates, mutual=True) as backend:
            yield backend

    async def test_with_the_right_authority_delivers(
        self, secured: Backend, certificates: Certificates, metrics: Metrics
    ) -> None:
        tls = TlsSettings(ca_file=certificates.ca_file)
        async with make_exporter(ExporterSettings(endpoint=secured.http_endpoint, tls=tls), metrics, "1") as exporter:
            await exporter.consume(LARGE)
        assert secured.taken[0].body == LARGE.body

    async def test_with_another_authority_sends_nothing(
        self, secured: Backend, certificates: Certificates, metrics: Metrics
    ) -> None:
        tls = TlsSettings(ca_file=certificates.other_ca_file)
        async with make_exporter(ExporterSettings(endpoint=secured.http_endpoint, tls=tls), metrics, "1") as exporter:
            error = await refusal(exporter)
        assert isinstance(error, Retryable)
        assert "exporter.tls.ca_file" in str(error)
        assert not secured.requests

    async def test_with_another_name_sends_nothing(
        self, secured: Backend, certificates: Certificates, metrics: Metrics
    ) -> None:
        endpoint = f"https://127.0.0.2:{secured.http_port}"
        tls = TlsSettings(ca_file=certificates.ca_file)
        async with make_exporter(ExporterSettings(endpoint=endpoint, tls=tls), metrics, "1") as exporter:
            assert isinstance(await refusal(exporter), Retryable)
        assert not secured.requests

    async def test_with_the_clients_certificate_is_let_in(
        self, mutual: Backend, certificates: Certificates, metrics: Metrics
    ) -> None:
        tls = TlsSettings(
            ca_file=certificates.ca_file,
            cert_file=certificates.client_cert_file,
            key_file=certificates.client_key_file,
        )
        async with make_exporter(ExporterSettings(endpoint=mutual.http_endpoint, tls=tls), metrics, "1") as exporter:
            await exporter.consume(SMALL)
        assert len(mutual.taken) == 1

    async def test_without_the_clients_certificate_is_retryable(
        self, mutual: Backend, certificates: Certificates, metrics: Metrics
    ) -> None:
        tls = TlsSettings(ca_file=certificates.ca_file)
        async with make_exporter(ExporterSettings(endpoint=mutual.http_endpoint, tls=tls), metrics, "1") as exporter:
            assert isinstance(await refusal(exporter), Retryable)
        assert not mutual.requests

    async def test_towards_a_port_without_it_is_retryable(self, metrics: Metrics) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        async with (
            served(answer) as port,
            make_exporter(ExporterSettings(endpoint=f"https://127.0.0.1:{port}"), metrics, "1") as exporter,
        ):
            error = await refusal(exporter)
        assert isinstance(error, Retryable)
        assert "no connection: [SSL" in str(error)
