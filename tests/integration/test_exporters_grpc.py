"""The OTLP/gRPC exporter against a scripted destination on real sockets."""

import asyncio
import gzip
import logging
import struct
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import StatusCode

from app.core.errors import InvalidData, NotAllowed, OtlpError, PartlyRejected, Retryable, TooLarge
from app.core.instance import HEADER, Instance
from app.core.request import ExportRequest, Signal
from app.exporters import Exporter, make_exporter
from app.settings import ExporterSettings, TlsSettings
from app.telemetry.metrics import Metrics
from tests.support.backend import Backend
from tests.support.certificates import Certificates
from tests.support.exchange import (
    Answer,
    Close,
    Delay,
    Grpc,
    Hang,
    Partial,
    Raw,
    Received,
    Reset,
    ResetStream,
    Success,
    Unheard,
)
from tests.support.load import spans_request
from tests.support.patience import PATIENCE
from tests.support.peak import peak_growth
from tests.support.process import Process
from tests.support.raw_http2 import DATA, END_HEADERS, HEADERS, SETTINGS, Frame, message
from tests.support.relay import Relay
from tests.support.streams import StreamServer

MIB = 1 << 20
ANSWER = 4 * MIB  # bytes of an answer that are read
SMALL = ExportRequest(Signal.TRACES, spans_request(1, 10), 10)
LARGE = ExportRequest(Signal.TRACES, spans_request(1, 10_000), 10_000)  # 3 MB
RETRYABLE_CODES = [
    StatusCode.CANCELLED,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.ABORTED,
    StatusCode.OUT_OF_RANGE,
    StatusCode.UNAVAILABLE,
    StatusCode.DATA_LOSS,
]
NOT_ALLOWED_CODES = [StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED, StatusCode.UNIMPLEMENTED]
OTHER_CODES = [code for code in StatusCode if code not in {*RETRYABLE_CODES, *NOT_ALLOWED_CODES, StatusCode.OK}]


def settings_for(endpoint: str, **values: object) -> ExporterSettings:
    return ExporterSettings.model_validate({"endpoint": endpoint, "protocol": "grpc", **values})


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend() as backend:
        yield backend


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test")


@pytest.fixture
async def exporter(backend: Backend, metrics: Metrics) -> AsyncIterator[Exporter]:
    async with make_exporter(settings_for(backend.grpc_endpoint), metrics, "1.2.3") as exporter:
        yield exporter


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def count(metrics: Metrics, code: str) -> float | None:
    return metrics.registry.get_sample_value("otlp_exporter_requests_total", {"signal": "traces", "code": code})


async def refusal(exporter: Exporter, request: ExportRequest = SMALL) -> OtlpError:
    with pytest.raises(OtlpError) as raised:
        await exporter.consume(request)
    return raised.value


class TestRequest:
    @pytest.mark.parametrize("request_", [SMALL, LARGE], ids=["small", "large"])
    @pytest.mark.parametrize("compression", ["none", "gzip"])
    async def test_body_arrives_byte_for_byte(
        self, backend: Backend, metrics: Metrics, compression: str, request_: ExportRequest
    ) -> None:
        async with Relay(backend.grpc_port) as relay:
            settings = settings_for(f"http://127.0.0.1:{relay.port}", compression=compression)
            async with make_exporter(settings, metrics, "1.2.3") as exporter:
                await exporter.consume(request_)
            assert backend.taken[0].body == request_.body
            assert (relay.sent > len(request_.body)) == (compression == "none")
        assert count(metrics, "OK") == 1

    async def test_each_request_names_the_instances_that_it_has_passed(
        self, backend: Backend, metrics: Metrics
    ) -> None:
        instance, other = Instance(), Instance()
        async with make_exporter(settings_for(backend.grpc_endpoint), metrics, "1", instance=instance) as exporter:
            await exporter.consume(SMALL)
            instance.came_from(Signal.TRACES, other.name)
            await exporter.consume(SMALL)
            await exporter.consume(ExportRequest(Signal.LOGS, b"", 0))
        named = [received.headers[HEADER] for received in backend.requests]
        assert named == [instance.name, f"{instance.name},{other.name}", instance.name]

    async def test_user_agent_says_who_sends(self, backend: Backend, exporter: Exporter) -> None:
        await exporter.consume(SMALL)
        assert backend.requests[0].headers["user-agent"].startswith("otlp-service/1.2.3 grpc-")

    @pytest.mark.parametrize("signal", Signal)
    async def test_each_signal_has_its_service(self, backend: Backend, exporter: Exporter, signal: Signal) -> None:
        await exporter.consume(ExportRequest(signal, b"", 0))
        assert [received.signal for received in backend.taken] == [signal]

    async def test_an_endpoint_of_a_signal_has_its_own_channel(self, backend: Backend, metrics: Metrics) -> None:
        async with Backend() as other:
            settings = settings_for(backend.grpc_endpoint, logs_endpoint=f"127.0.0.1:{other.grpc_port}")
            async with make_exporter(settings, metrics, "1") as exporter:
                for signal in Signal:
                    await exporter.consume(ExportRequest(signal, b"", 0))
            assert [received.signal for received in other.taken] == [Signal.LOGS]
        assert [received.signal for received in backend.taken] == [Signal.TRACES, Signal.METRICS]
        assert len({received.peer for received in backend.taken}) == 1

    async def test_headers_come_from_the_configuration_and_a_file(
        self, backend: Backend, metrics: Metrics, tmp_path: Path
    ) -> None:
        secrets = tmp_path / "headers"
        secrets.write_text("authorization: Bearer one\n")
        settings = settings_for(backend.grpc_endpoint, headers={"X-Tenant": "shop"}, headers_file=secrets)
        async with make_exporter(settings, metrics, "1") as exporter:
            await exporter.consume(SMALL)
        headers = backend.requests[0].headers
        assert headers["authorization"] == "Bearer one"
        assert headers["x-tenant"] == "shop"

    async def test_a_proxy_of_the_environment_is_not_used(
        self, backend: Backend, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        async with make_exporter(settings_for(backend.grpc_endpoint), metrics, "1") as exporter:
            await exporter.consume(SMALL)
        assert len(backend.taken) == 1

    async def test_many_at_once_share_a_connection(self, backend: Backend, exporter: Exporter) -> None:
        backend.otherwise = Delay(0.05)
        await asyncio.gather(*(exporter.consume(SMALL) for _ in range(20)))
        assert len(backend.taken) == 20
        assert len({received.peer for received in backend.taken}) == 1

    async def test_a_large_body_is_compressed_in_a_thread(self, exporter: Exporter) -> None:
        def threads() -> set[threading.Thread]:
            return {thread for thread in threading.enumerate() if thread.name.startswith("grpc-start")}

        others = threads()  # those of an exporter that was closed may still be on their way out
        await exporter.consume(SMALL)
        assert threads() <= others
        await exporter.consume(LARGE)
        assert threads() - others


class TestSuccess:
    @pytest.mark.parametrize("signal", Signal)
    async def test_in_part_tells_how_many_items_were_rejected(
        self, backend: Backend, exporter: Exporter, signal: Signal
    ) -> None:
        backend.script(Partial(3, "too old"))
        error = await refusal(exporter, ExportRequest(signal, b"", 10))
        assert isinstance(error, PartlyRejected)
        assert error.items == 3
        assert str(error) == f'127.0.0.1:{backend.grpc_port} rejected 3 of 10 {signal.noun}: "too old"'

    async def test_with_a_remark_only_is_one(
        self, backend: Backend, exporter: Exporter, caplog: pytest.LogCaptureFixture
    ) -> None:
        backend.script(Partial(0, "deprecated attribute"))
        await exporter.consume(SMALL)
        assert "deprecated attribute" in caplog.text

    @pytest.mark.parametrize("answer", [Raw(b"\xff\xff"), Raw(b"\xff" * (5 << 20))], ids=["broken", "5 MiB"])
    async def test_with_a_message_that_says_nothing_is_one(
        self, backend: Backend, exporter: Exporter, caplog: pytest.LogCaptureFixture, answer: Raw
    ) -> None:
        backend.script(answer)
        with caplog.at_level(logging.DEBUG, "app.exporters"):
            await exporter.consume(SMALL)
            await exporter.consume(SMALL)
        assert len(backend.requests) == 2
        assert [record.levelname for record in caplog.records if record.name.startswith("app.")] == ["DEBUG"]


class TestBounds:
    async def test_an_answer_is_read_up_to_its_bound_and_not_a_byte_further(
        self, backend: Backend, exporter: Exporter
    ) -> None:
        overhead = len(Partial(1, "x" * ANSWER).to_protobuf(Signal.TRACES)) - ANSWER
        backend.script(Partial(1, "x" * (ANSWER - overhead)), Partial(1, "x" * (ANSWER - overhead + 1)))
        assert isinstance(await refusal(exporter), PartlyRejected)
        await exporter.consume(SMALL)

    async def test_answers_without_an_end_cost_little_and_time_out(self, tmp_path: Path, metrics: Metrics) -> None:
        server = Process([sys.executable, str(Path(__file__).parents[1] / "support/endless.py")], tmp_path)
        server.spawn()
        try:

            async def serves() -> bool:
                return server.output.endswith("\n")

            await server.until(serves, "its port")
            settings = settings_for(f"http://127.0.0.1:{int(server.output)}", timeout=1)
            async with make_exporter(settings, metrics, "1") as exporter:
                with peak_growth() as peak:
                    assert isinstance(await refusal(exporter), Retryable)
        finally:
            server.kill()
        assert peak.growth < 16 * MIB

    async def test_an_answer_that_inflates_beyond_its_bound_costs_little_and_is_taken_for_a_refusal_of_the_size(
        self, metrics: Metrics
    ) -> None:
        """A server says the same in the same words where it is our message that inflates to too much."""
        bomb = message(gzip.compress(bytes(48 * MIB)), compressed=True)
        assert len(bomb) < 65_536  # so that no window holds it up
        pieces = [bomb[start : start + 16_384] for start in range(0, len(bomb), 16_384)]
        head = b"\x88" + b"".join(
            b"\0%c%b%c%b" % (len(name), name, len(value), value)
            for name, value in ((b"content-type", b"application/grpc"), (b"grpc-encoding", b"gzip"))
        )

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(24)  # the preface
            writer.write(Frame(SETTINGS, 0, 0).to_bytes())
            kind = -1
            while kind != HEADERS:
                length, kind = (
                    struct.unpack("!I", b"\0" + await reader.readexactly(3))[0],
                    (await reader.readexactly(1))[0],
                )
                await reader.readexactly(5 + length)
            for frame in (Frame(HEADERS, END_HEADERS, 1, head), *(Frame(DATA, 0, 1, piece) for piece in pieces)):
                writer.write(frame.to_bytes())
            await reader.read()

        async with (
            StreamServer(talk) as server,
            make_exporter(settings_for(f"http://127.0.0.1:{server.port}"), metrics, "1") as exporter,
        ):
            with peak_growth() as peak:
                assert isinstance(await refusal(exporter), TooLarge)
        assert peak.growth < 16 * MIB

    async def test_a_refusal_of_many_words_is_read(self, backend: Backend, exporter: Exporter) -> None:
        backend.otherwise = Grpc(StatusCode.UNAVAILABLE, "x" * 30_000, retry=2.5)
        for _ in range(5):
            error = await refusal(exporter)
            assert isinstance(error, Retryable)
            assert error.delay == 2.5


class TestRefusal:
    @pytest.mark.parametrize("code", RETRYABLE_CODES, ids=lambda code: code.name)
    async def test_that_passes_is_retryable(
        self, backend: Backend, exporter: Exporter, metrics: Metrics, code: StatusCode
    ) -> None:
        backend.script(Grpc(code, "busy"))
        error = await refusal(exporter)
        assert isinstance(error, Retryable)
        assert error.reason == "unavailable"
        assert error.delay is None
        assert '"busy"' in str(error)
        assert count(metrics, code.name) == 1
        assert len(backend.requests) == 1

    @pytest.mark.parametrize("code", NOT_ALLOWED_CODES, ids=lambda code: code.name)
    async def test_of_ourselves_is_not_allowed(self, backend: Backend, exporter: Exporter, code: StatusCode) -> None:
        backend.script(Grpc(code, "no, because"))
        error = await refusal(exporter)
        assert isinstance(error, NotAllowed)
        assert '"no, because"' in str(error)

    @pytest.mark.parametrize("code", OTHER_CODES, ids=lambda code: code.name)
    async def test_of_the_data_is_for_good(self, backend: Backend, exporter: Exporter, code: StatusCode) -> None:
        backend.script(Grpc(code, "no, because"))
        assert type(await refusal(exporter)) is InvalidData
        assert len(backend.requests) == 1

    @pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED])
    async def test_with_retry_info_tells_how_long_to_wait(
        self, backend: Backend, exporter: Exporter, code: StatusCode
    ) -> None:
        backend.script(Grpc(code, "busy", retry=2.5))
        error = await refusal(exporter)
        assert isinstance(error, Retryable)
        assert error.delay == 2.5

    async def test_of_the_size_is_too_large(self, backend: Backend, exporter: Exporter) -> None:
        details = "grpc: received message after decompression larger than max 4194304"
        backend.script(Grpc(StatusCode.RESOURCE_EXHAUSTED, details))
        assert isinstance(await refusal(exporter), TooLarge)


async def sent_again(exporter: Exporter) -> int:
    """Try until it is taken; returns how often it was not."""
    failures = 0
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await exporter.consume(SMALL)
            except Retryable:
                failures += 1
                await asyncio.sleep(0.1)
            else:
                return failures


class TestConnection:
    async def test_refused_is_retryable(self, backend: Backend, exporter: Exporter, metrics: Metrics) -> None:
        await backend.stop()
        error = await refusal(exporter)
        assert isinstance(error, Retryable)
        assert count(metrics, "UNAVAILABLE") == 1

    async def test_that_comes_back_on_the_same_port_is_used(self, backend: Backend, exporter: Exporter) -> None:
        await exporter.consume(SMALL)
        await backend.stop()
        assert isinstance(await refusal(exporter), Retryable)
        await backend.start()
        await sent_again(exporter)
        assert len(backend.taken) == 2

    @pytest.mark.parametrize(
        ("answer", "code"),
        [(Reset(), "UNAVAILABLE"), (Close(), "UNAVAILABLE"), (ResetStream(), "CANCELLED"), (Unheard(), "CANCELLED")],
        ids=["reset", "closed", "RST_STREAM", "taken, and RST_STREAM"],
    )
    async def test_that_breaks_a_call_which_it_has_read_is_retryable(
        self, metrics: Metrics, answer: Answer, code: str
    ) -> None:
        async with Backend(breaks_calls=True) as backend:
            async with make_exporter(settings_for(backend.grpc_endpoint), metrics, "1") as exporter:
                backend.script(Success(), answer)
                await exporter.consume(SMALL)
                assert isinstance(await refusal(exporter), Retryable)
                late = await sent_again(exporter)  # gRPC may not have noticed yet that the connection has ended
            first, broken, again = backend.requests
            only_that_call = isinstance(answer, ResetStream | Unheard)
            assert (first.peer == again.peer) == only_that_call
            assert late == 0 or not only_that_call
            assert first.peer == broken.peer
        assert (count(metrics, code), count(metrics, "OK")) == (1 + late, 2)

    async def test_that_breaks_one_call_leaves_others_on_the_connection_alone(self, metrics: Metrics) -> None:
        def answer(received: Received) -> Answer:
            return ResetStream() if received.signal is Signal.METRICS else Delay(0.1)

        async with Backend(breaks_calls=True) as backend:
            backend.otherwise = answer
            async with make_exporter(settings_for(backend.grpc_endpoint), metrics, "1") as exporter:
                each = (exporter.consume(ExportRequest(signal, b"", 0)) for signal in Signal)
                traces, points, records = await asyncio.gather(*each, return_exceptions=True)
            assert (traces, records) == (None, None)
            assert isinstance(points, Retryable)
            assert len({received.peer for received in backend.requests}) == 1

    async def test_reset_while_sending_is_retryable(self, backend: Backend, metrics: Metrics) -> None:
        async with Relay(backend.grpc_port) as relay:
            settings = settings_for(f"127.0.0.1:{relay.port}", compression="none")
            async with make_exporter(settings, metrics, "1") as exporter:
                exporting = asyncio.create_task(refusal(exporter, LARGE))
                await relay.passed(100_000)
                relay.cut()
                assert isinstance(await exporting, Retryable)

    async def test_reset_while_waiting_is_retryable_and_replaced(self, backend: Backend, metrics: Metrics) -> None:
        backend.script(Hang())
        async with Relay(backend.grpc_port) as relay:
            settings = settings_for(f"127.0.0.1:{relay.port}")
            async with make_exporter(settings, metrics, "1") as exporter:
                exporting = asyncio.create_task(refusal(exporter))
                await backend.received(lambda backend: len(backend.requests) == 1)
                relay.cut()
                assert isinstance(await exporting, Retryable)
                async with asyncio.timeout(PATIENCE):
                    while not backend.taken:
                        try:
                            await exporter.consume(SMALL)
                        except Retryable:
                            await asyncio.sleep(0.1)


class TestTime:
    async def test_that_is_up_is_retryable_and_known_to_the_destination(
        self, backend: Backend, metrics: Metrics
    ) -> None:
        backend.script(Hang())
        async with make_exporter(settings_for(backend.grpc_endpoint, timeout=1), metrics, "1") as exporter:
            assert isinstance(await refusal(exporter), Retryable)
            await backend.received(lambda backend: len(backend.abandoned) == 1)
        assert count(metrics, "DEADLINE_EXCEEDED") == 1

    async def test_cut_short_aborts_the_call(self, backend: Backend, exporter: Exporter, metrics: Metrics) -> None:
        backend.script(Hang())
        exporting = asyncio.create_task(exporter.consume(SMALL))
        await backend.received(lambda backend: len(backend.requests) == 1)
        exporting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exporting
        await backend.received(lambda backend: len(backend.abandoned) == 1)
        assert count(metrics, "cancelled") == 1
        await exporter.consume(SMALL)

    async def test_cut_short_while_a_large_body_is_compressed_aborts_the_call(
        self, backend: Backend, exporter: Exporter
    ) -> None:
        backend.otherwise = Hang()
        exporting = asyncio.create_task(exporter.consume(LARGE))
        await asyncio.sleep(0)  # now it is handed to a thread
        exporting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exporting
        await exporter.__aexit__(None, None, None)
        await backend.received(lambda backend: len(backend.abandoned) == len(backend.requests))

    async def test_of_the_exporter_ends_with_calls_under_way(self, backend: Backend, metrics: Metrics) -> None:
        backend.otherwise = Hang()
        async with make_exporter(settings_for(backend.grpc_endpoint), metrics, "1") as exporter:
            exporting = asyncio.create_task(refusal(exporter))
            await backend.received(lambda backend: len(backend.requests) == 1)
        assert isinstance(await exporting, Retryable)


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
        settings = settings_for(secured.grpc_endpoint, tls=TlsSettings(ca_file=certificates.ca_file))
        async with make_exporter(settings, metrics, "1") as exporter:
            await exporter.consume(LARGE)
        assert secured.taken[0].body == LARGE.body

    async def test_with_another_authority_sends_nothing(
        self, secured: Backend, certificates: Certificates, metrics: Metrics
    ) -> None:
        settings = settings_for(secured.grpc_endpoint, tls=TlsSettings(ca_file=certificates.other_ca_file))
        async with make_exporter(settings, metrics, "1") as exporter:
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
        async with make_exporter(settings_for(mutual.grpc_endpoint, tls=tls), metrics, "1") as exporter:
            await exporter.consume(SMALL)
        assert len(mutual.taken) == 1

    async def test_without_the_clients_certificate_is_retryable(
        self, mutual: Backend, certificates: Certificates, metrics: Metrics
    ) -> None:
        settings = settings_for(mutual.grpc_endpoint, tls=TlsSettings(ca_file=certificates.ca_file))
        async with make_exporter(settings, metrics, "1") as exporter:
            assert isinstance(await refusal(exporter), Retryable)
        assert not mutual.requests
