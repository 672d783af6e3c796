"""The OTLP/gRPC receiver over real sockets."""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from app.core.clock import SystemClock
from app.core.errors import NotAllowed, PartlyRejected, Retryable
from app.core.instance import HEADER, Instance
from app.core.request import ExportRequest, Signal
from app.health import Health
from app.memory import COPIES, Headroom
from app.receivers.grpc import GrpcReceiver
from app.receivers.grpc_native import NativeGrpcReceiver
from app.settings import ServerSettings
from app.telemetry.metrics import Metrics
from tests.support.cgroup_files import CgroupFiles
from tests.support.patience import PATIENCE
from tests.support.payload import one_item, spans
from tests.support.process import until
from tests.support.raw_http2 import DATA, END_STREAM, HEADERS, Frame, RawHttp2Client, message
from tests.support.sink import Sink

Code = grpc.StatusCode
Receiver = GrpcReceiver | NativeGrpcReceiver
Make = Callable[..., Receiver]


@pytest.fixture(params=[GrpcReceiver, NativeGrpcReceiver], ids=["grpcio", "native"])
def engine(request: pytest.FixtureRequest) -> type[Receiver]:
    found: type[Receiver] = request.param
    return found


grpcio_alone = pytest.mark.parametrize("engine", [GrpcReceiver], indirect=True, ids=["grpcio"])


@pytest.fixture
def make(engine: type[Receiver], sink: Sink, metrics: Metrics, health: Health) -> Make:
    def make(**settings: object) -> Receiver:
        values = {"host": "127.0.0.1", "grpc_port": 0, **settings}
        return engine(ServerSettings.model_validate(values), sink, metrics, health)

    return make


@pytest.fixture
async def receiver(make: Make) -> AsyncIterator[Receiver]:
    async with make() as receiver:
        yield receiver


@asynccontextmanager
async def connected(receiver: Receiver, **options: int) -> AsyncIterator[grpc.aio.Channel]:
    # A pool of its own: channels in one process share connections otherwise.
    arguments = [("grpc.use_local_subchannel_pool", 1), *((f"grpc.{name}", value) for name, value in options.items())]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{receiver.port}", options=arguments) as channel:
        yield channel


@pytest.fixture
async def channel(receiver: Receiver) -> AsyncIterator[grpc.aio.Channel]:
    async with connected(receiver) as channel:
        yield channel


async def export(
    channel: grpc.aio.Channel,
    body: bytes,
    signal: Signal = Signal.TRACES,
    compression: grpc.Compression | None = None,
    timeout: float = 10,  # noqa: ASYNC109 - it is the call's
) -> bytes:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(signal.method)
    return await call(body, timeout=timeout, compression=compression)


async def refusal(channel: grpc.aio.Channel, body: bytes, **options: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await export(channel, body, **options)  # type: ignore[arg-type]  # a test's own options
    return error.value


def trailers(error: grpc.aio.AioRpcError) -> dict[str, bytes]:
    return {key: value for key, value in error.trailing_metadata() if isinstance(value, bytes)}


def hint(error: grpc.aio.AioRpcError) -> float | None:
    """The delay that the trailers ask for; both have to ask for the same."""
    found = trailers(error)
    status = Status.FromString(found["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    own = found.get("google.rpc.retryinfo-bin")
    if own is None:
        assert not status.details
        return None
    detail = RetryInfo()
    assert status.details[0].Unpack(detail)
    assert detail == RetryInfo.FromString(own)
    return detail.retry_delay.ToMilliseconds() / 1000


@pytest.mark.parametrize("signal", Signal)
async def test_a_request_of_each_signal_arrives_as_the_bytes_that_it_came_as(
    channel: grpc.aio.Channel, sink: Sink, signal: Signal
) -> None:
    body = one_item(signal)
    assert await export(channel, body, signal) == b""
    assert sink.requests == [ExportRequest(signal, body, 1)]


async def test_a_gzipped_message_is_inflated(channel: grpc.aio.Channel, sink: Sink) -> None:
    body = spans(100)
    assert await export(channel, body, compression=grpc.Compression.Gzip) == b""
    assert sink.requests == [ExportRequest(Signal.TRACES, body, 100)]


@grpcio_alone
async def test_a_deflated_message_is_inflated(channel: grpc.aio.Channel, sink: Sink) -> None:
    body = spans(100)
    assert await export(channel, body, compression=grpc.Compression.Deflate) == b""
    assert sink.requests == [ExportRequest(Signal.TRACES, body, 100)]


async def test_an_empty_request_succeeds_and_goes_nowhere(channel: grpc.aio.Channel, sink: Sink) -> None:
    assert await export(channel, b"") == b""
    assert sink.requests == []


async def test_a_malformed_request_is_refused_for_good(channel: grpc.aio.Channel) -> None:
    error = await refusal(channel, b"\xff")
    assert (error.code(), hint(error)) == (Code.INVALID_ARGUMENT, None)
    assert error.details()


async def test_overload_is_unavailable_with_a_hint_of_about_a_second(channel: grpc.aio.Channel, sink: Sink) -> None:
    sink.error = Retryable("the queue is full", reason="queue_full")
    errors = [await refusal(channel, spans()) for _ in range(20)]
    assert {(error.code(), error.details()) for error in errors} == {(Code.UNAVAILABLE, "the queue is full")}
    hints = {hint(error) for error in errors}
    assert all(delay is not None and 0.5 <= delay <= 1.5 for delay in hints)
    assert len(hints) > 10


@pytest.mark.parametrize(("asked", "given"), [(0.25, 0.25), (600, 3)])
async def test_a_hint_of_the_one_who_refused_is_passed_on_up_to_three_seconds(
    channel: grpc.aio.Channel, sink: Sink, asked: float, given: float
) -> None:
    sink.error = Retryable("later", reason="queue_full", delay=asked)
    assert hint(await refusal(channel, spans())) == given


async def test_a_fault_of_ours_is_unavailable_too(
    channel: grpc.aio.Channel, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    sink.error = ZeroDivisionError("oops")
    error = await refusal(channel, spans())
    assert error.code() is Code.UNAVAILABLE
    assert hint(error) is not None
    assert "oops" not in error.details()
    assert "ZeroDivisionError: oops" in caplog.text


async def test_what_the_destination_refuses_is_refused_here(channel: grpc.aio.Channel, sink: Sink) -> None:
    sink.error = NotAllowed("the token has expired")
    error = await refusal(channel, spans())
    assert (error.code(), hint(error)) == (Code.PERMISSION_DENIED, None)


async def test_what_passed_this_instance_before_is_refused_for_good(
    sink: Sink, metrics: Metrics, health: Health, caplog: pytest.LogCaptureFixture
) -> None:
    instance, other = Instance(), Instance()
    settings = ServerSettings(host="127.0.0.1", grpc_port=0)
    async with (
        GrpcReceiver(settings, sink, metrics, health, instance=instance) as receiver,
        connected(receiver) as channel,
    ):
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(Signal.TRACES.method)
        assert await call(spans(), timeout=PATIENCE, metadata=((HEADER, other.names(Signal.TRACES)),)) == b""
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(
                spans(), timeout=PATIENCE, metadata=((HEADER, other.name), (HEADER, instance.names(Signal.TRACES)))
            )
    assert (error.value.code(), hint(error.value)) == (Code.PERMISSION_DENIED, None)
    assert len(sink.requests) == 1
    assert "round in circles" in caplog.text


async def test_a_partial_success_is_told(channel: grpc.aio.Channel, sink: Sink) -> None:
    sink.error = PartlyRejected("one has no name", items=1)
    response = ExportTraceServiceResponse.FromString(await export(channel, spans()))
    assert response.partial_success.rejected_spans == 1
    assert response.partial_success.error_message == "one has no name"


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_a_message_above_the_bound_is_refused_for_good_whether_it_came_inflated_or_not(
    make: Make, sink: Sink, compression: grpc.Compression
) -> None:
    async with make(max_request_size=100_000) as receiver, connected(receiver) as channel:
        assert await export(channel, spans(name="x" * 99_000), compression=compression) == b""
        error = await refusal(channel, spans(name="x" * 100_001), compression=compression)
        assert error.code() is Code.RESOURCE_EXHAUSTED
        details = Status.FromString(trailers(error).get("grpc-status-details-bin", b"")).details
        assert (list(details), "google.rpc.retryinfo-bin" in trailers(error)) == ([], False)
    assert len(sink.requests) == 1


@grpcio_alone  # the other one closes the connection in place of its own refusal
async def test_metadata_above_its_bound_is_refused_before_the_message_is_looked_at(
    channel: grpc.aio.Channel, sink: Sink
) -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(Signal.TRACES.method)
    for size in (17 << 10, 1 << 20):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(spans(), timeout=PATIENCE, metadata=(("much", "x" * size),))
        assert error.value.code() is Code.RESOURCE_EXHAUSTED
        assert "google.rpc.retryinfo-bin" not in trailers(error.value)
    assert sink.requests == []
    assert await call(spans(), timeout=PATIENCE, metadata=(("some", "x" * (14 << 10)),)) == b""


async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await channel.unary_unary("/opentelemetry.proto.collector.profiles.v1.ProfilesService/Export")(
            b"", timeout=PATIENCE
        )
    assert error.value.code() is Code.UNIMPLEMENTED


async def test_answers_are_counted_by_the_name_of_their_code(
    channel: grpc.aio.Channel, sink: Sink, metrics: Metrics
) -> None:
    await export(channel, spans(3))
    sink.error = Retryable("full", reason="queue_full")
    await refusal(channel, spans(3))
    sink.hold()
    assert (await refusal(channel, spans(3), timeout=1)).code() is Code.DEADLINE_EXCEEDED
    value = metrics.registry.get_sample_value
    route = {"method": "POST", "route": Signal.TRACES.method}
    own = {"signal": "traces", "transport": "grpc"}

    async def cancelled() -> bool:
        return value("otlp_receiver_requests_total", own | {"code": "CANCELLED"}) is not None

    await until(cancelled, "the call that was given up to be counted")
    for code in ("OK", "UNAVAILABLE", "CANCELLED"):
        assert value("otlp_receiver_requests_total", own | {"code": code}) == 1
        assert value("http_requests_total", route | {"code": code}) == 1
    assert value("otlp_receiver_request_size_bytes_sum", own) == 3 * len(spans(3))
    assert value("otlp_receiver_refused_items_total", own | {"reason": "queue_full"}) == 3


@grpcio_alone
async def test_more_connections_than_the_bound_are_unavailable(make: Make) -> None:
    async with make(max_connections=1) as receiver, connected(receiver) as one, connected(receiver) as two:
        assert await export(one, spans()) == b""
        assert (await refusal(two, spans())).code() is Code.UNAVAILABLE


async def test_of_more_streams_than_the_bound_the_rest_waits_or_may_come_again(make: Make, sink: Sink) -> None:
    async def attempt() -> Code:
        try:
            await export(channel, spans())
        except grpc.aio.AioRpcError as error:
            return error.code()
        return Code.OK

    async with make(max_concurrent_streams=2) as receiver, connected(receiver) as channel:
        await export(channel, spans())  # from here on the client has seen the bound
        sink.hold()
        calls = [asyncio.create_task(attempt()) for _ in range(5)]
        await sink.wait_for_callers(2)
        await asyncio.sleep(0.1)
        assert sink.waiting == 2
        sink.release()
        codes = await asyncio.gather(*calls)
        # gRPC's server may refuse a stream while it still tidies up after another; its client says so as UNAVAILABLE.
        assert set(codes) <= {Code.OK, Code.UNAVAILABLE}
        assert codes.count(Code.OK) >= 2


@grpcio_alone
async def test_a_connection_that_has_grown_old_is_sent_away_and_loses_nothing(make: Make, sink: Sink) -> None:
    async with make(max_connection_age=0.2, body_timeout=5) as receiver, connected(receiver) as channel:
        await export(channel, spans())
        sent_away = asyncio.create_task(channel.wait_for_state_change(grpc.ChannelConnectivity.READY))
        sent = 1
        async with asyncio.timeout(PATIENCE):
            while not sent_away.done():
                await export(channel, spans())
                sent += 1
        await export(channel, spans())
    assert len(sink.requests) == sent + 1


class TestHealth:
    async def check(self, channel: grpc.aio.Channel, service: str = "") -> int:
        call = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        response = await call(HealthCheckRequest(service=service), timeout=PATIENCE)
        return int(response.status)

    def watch(self, channel: grpc.aio.Channel, service: str = "") -> AsyncIterator[HealthCheckResponse]:
        call = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        return aiter(call(HealthCheckRequest(service=service)))

    @pytest.mark.parametrize("service", ["", *(signal.service for signal in Signal)])
    async def test_it_serves_when_the_service_is_ready(self, sink: Sink, metrics: Metrics, service: str) -> None:
        health = Health("0", SystemClock())
        settings = ServerSettings(host="127.0.0.1", grpc_port=0)
        async with GrpcReceiver(settings, sink, metrics, health) as receiver, connected(receiver) as channel:
            assert await self.check(channel, service) == HealthCheckResponse.NOT_SERVING
            health.ready_now()
            assert await self.check(channel, service) == HealthCheckResponse.SERVING
            health.draining()
            assert await self.check(channel, service) == HealthCheckResponse.NOT_SERVING

    async def test_a_service_that_is_not_here_is_not_found(self, channel: grpc.aio.Channel) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.check(channel, "nobody")
        assert error.value.code() is Code.NOT_FOUND
        assert (await anext(self.watch(channel, "nobody"))).status == HealthCheckResponse.SERVICE_UNKNOWN

    async def test_who_watches_is_told_of_changes_and_let_go_at_the_end(
        self, receiver: Receiver, channel: grpc.aio.Channel, health: Health
    ) -> None:
        watch = self.watch(channel)
        assert (await anext(watch)).status == HealthCheckResponse.SERVING
        health.note("queue", "full")
        health.draining()
        assert (await anext(watch)).status == HealthCheckResponse.NOT_SERVING
        async with asyncio.timeout(PATIENCE):
            receiver.begin_closing()
            assert [response async for response in watch] == []


async def test_reflection_tells_what_is_here(channel: grpc.aio.Channel) -> None:
    call = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )
    questions = [
        ServerReflectionRequest(list_services="*"),
        ServerReflectionRequest(file_containing_symbol=Signal.TRACES.service),
    ]
    services, file = [answer async for answer in call(iter(questions))]
    names = {service.name for service in services.list_services_response.service}
    assert names == {
        *(signal.service for signal in Signal),
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert file.file_descriptor_response.file_descriptor_proto


class TestClosing:
    @grpcio_alone  # the other one sends nobody away
    async def test_what_is_in_flight_is_finished_and_what_comes_is_refused(
        self, receiver: Receiver, channel: grpc.aio.Channel, sink: Sink
    ) -> None:
        sink.hold()
        under_way = asyncio.create_task(export(channel, spans()))
        await sink.wait_for_callers(1)
        receiver.begin_closing()
        error = await refusal(channel, spans())
        assert (error.code(), hint(error) is not None) == (Code.UNAVAILABLE, True)

        finish = asyncio.create_task(receiver.finish(10))
        await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)  # GOAWAY
        sink.release()
        assert await under_way == b""
        async with asyncio.timeout(PATIENCE):
            await finish
        async with connected(receiver) as other:
            for each in (channel, other):  # who comes back, or comes only now, is told when to come
                error = await refusal(each, spans())
                assert (error.code(), hint(error) is not None) == (Code.UNAVAILABLE, True)
        assert len(sink.requests) == 1

    @grpcio_alone  # as above
    async def test_what_is_in_flight_is_finished_though_no_file_can_be_opened(
        self, receiver: GrpcReceiver, channel: grpc.aio.Channel, sink: Sink, caplog: pytest.LogCaptureFixture
    ) -> None:
        sink.hold()
        under_way = asyncio.create_task(export(channel, spans()))
        await sink.wait_for_callers(1)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            finish = asyncio.create_task(receiver.finish(10))
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)  # GOAWAY
            sink.release()
            assert await under_way == b""
            await finish
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert "who connects from now on is not told to come back: server.grpc_port: cannot listen" in caplog.text

    @grpcio_alone  # as above
    async def test_what_came_in_the_last_moment_is_answered(self, make: Make, sink: Sink) -> None:
        sink.error = Retryable("the disk failed", reason="storage_failed")
        sink.hold()
        async with make() as receiver, connected(receiver) as channel:
            under_way = asyncio.create_task(refusal(channel, spans()))
            await sink.wait_for_callers(1)
            leaving = asyncio.create_task(receiver.__aexit__())
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)  # GOAWAY
            sink.release()
            error = await under_way
            await leaving
        assert (error.code(), error.details()) == (Code.UNAVAILABLE, "the disk failed")
        assert hint(error) is not None

    async def test_waiting_has_an_end_and_what_is_cut_off_may_come_again(
        self, receiver: Receiver, channel: grpc.aio.Channel, sink: Sink
    ) -> None:
        sink.hold()
        under_way = asyncio.create_task(refusal(channel, spans()))
        await sink.wait_for_callers(1)
        async with asyncio.timeout(PATIENCE):
            await receiver.finish(0.1)
        assert (await under_way).code() in {Code.UNAVAILABLE, Code.CANCELLED}
        assert sink.requests == []

    async def test_a_call_that_never_ends_does_not_hold_up_the_end(
        self, receiver: Receiver, channel: grpc.aio.Channel
    ) -> None:
        call = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )()
        await call.write(ServerReflectionRequest(list_services="*"))
        await call.read()
        async with asyncio.timeout(PATIENCE):
            await receiver.finish(60)


class TestLifetime:
    async def test_starting_and_stopping_twice_is_safe(self, make: Make, sink: Sink) -> None:
        receiver = make()
        receiver.begin_closing()
        await receiver.finish(1)
        for _ in range(2):
            async with receiver, receiver:
                async with connected(receiver) as channel:
                    assert await export(channel, spans()) == b""
                await receiver.finish(1)
                await receiver.finish(1)
            await receiver.__aexit__()
        assert len(sink.requests) == 2

    async def test_a_port_that_is_in_use_is_a_clear_error(self, make: Make) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(OSError, match=rf"^server\.grpc_port: {port} is in use; stop what listens there"):
                await make(grpc_port=port).__aenter__()

    async def test_a_second_instance_does_not_share_the_port_unnoticed(self, receiver: Receiver, make: Make) -> None:
        with pytest.raises(OSError, match="is in use"):
            await make(grpc_port=receiver.port).__aenter__()

    async def test_both_families_are_served_on_one_port(self, make: Make) -> None:
        async with make(host="::") as receiver:
            for host in ("127.0.0.1", "[::1]"):
                async with grpc.aio.insecure_channel(f"{host}:{receiver.port}") as channel:
                    assert await export(channel, spans()) == b""


MIB = 1 << 20


@asynccontextmanager
async def limited(
    files: CgroupFiles, sink: Sink, metrics: Metrics, health: Health
) -> AsyncIterator[tuple[Headroom, grpc.aio.Channel]]:
    """A receiver in a cgroup of 256 MiB, of which 224 are below the ceiling, and messages of 50 MiB at most."""
    headroom = Headroom(files.find(), trim=lambda: None)
    settings = ServerSettings(host="127.0.0.1", grpc_port=0, max_request_size=50 * MIB)
    async with (
        GrpcReceiver(settings, sink, metrics, health, headroom=headroom) as receiver,
        connected(receiver) as channel,
    ):
        yield headroom, channel


async def test_a_call_is_promised_memory_for_its_message_until_it_is_answered(
    tmp_path: Path, sink: Sink, metrics: Metrics, health: Health
) -> None:
    body = spans(10)
    async with limited(CgroupFiles(tmp_path, 256 * MIB), sink, metrics, health) as (headroom, channel):
        sink.hold()
        call = asyncio.create_task(export(channel, body))
        await sink.wait_for_callers(1)
        assert 0 < headroom.promised - COPIES * len(body) < 8192, "and what it takes itself"
        sink.release()
        await call
        await turned_to(lambda: headroom.promised == 0)


async def test_a_call_that_finds_no_memory_is_read_when_there_is_some(
    tmp_path: Path, sink: Sink, metrics: Metrics, health: Health
) -> None:
    files = CgroupFiles(tmp_path, 256 * MIB)
    files.use(200 * MIB)
    async with limited(files, sink, metrics, health) as (headroom, channel):
        call = asyncio.create_task(export(channel, spans(10)))
        await turned_to(lambda: headroom.line)
        assert sink.requests == []
        files.use(0)
        await call
        assert sink.items(Signal.TRACES) == 10
        await turned_to(lambda: headroom.promised == 0)


async def test_a_call_for_whose_message_there_is_no_memory_is_told_to_come_back(
    tmp_path: Path, sink: Sink, metrics: Metrics, health: Health
) -> None:
    files = CgroupFiles(tmp_path, 256 * MIB)
    files.use(256 * MIB)
    async with limited(files, sink, metrics, health) as (headroom, channel):
        error = await refusal(channel, spans(10))
        assert error.code() is Code.UNAVAILABLE
        assert "memory is short" in str(error.details())
        delay = hint(error)
        assert delay is not None
        assert delay > 0
        await turned_to(lambda: headroom.promised == 0)
        labels = {"signal": "traces", "transport": "grpc", "code": "UNAVAILABLE"}
        assert metrics.registry.get_sample_value("otlp_receiver_requests_total", labels) == 1
        files.use(0)

        async def taken_again() -> bool:
            with suppress(grpc.aio.AioRpcError):
                await export(channel, spans(10))
            return sink.items(Signal.TRACES) == 10

        await until(taken_again, "it admits again by itself")


async def test_a_message_that_came_and_is_too_much_to_be_worked_on_is_told_to_come_back(
    tmp_path: Path, sink: Sink, metrics: Metrics, health: Health
) -> None:
    files = CgroupFiles(tmp_path, 256 * MIB)
    headroom = Headroom(files.find(), trim=lambda: None)
    settings = ServerSettings(host="127.0.0.1", grpc_port=0, max_request_size=50 * MIB)
    data = message(spans(name="x" * (40 * MIB)))
    async with (
        GrpcReceiver(settings, sink, metrics, health, headroom=headroom) as receiver,
        RawHttp2Client(receiver.port) as client,
    ):
        client.call(1, Signal.TRACES.method)
        await client.data(1, data[:-1], end=False)
        files.use(200 * MIB)
        await client.data(1, data[-1:], end=True)
        (answer,) = await client.until(HEADERS)
        assert b"grpc-status\x0214" in answer.payload
        assert b"memory is short" in answer.payload
        assert b"retryinfo-bin" in answer.payload
        assert sink.requests == []
        await turned_to(lambda: headroom.promised == 0)


async def test_a_message_that_does_not_come_or_not_as_a_whole_is_refused(
    tmp_path: Path, sink: Sink, metrics: Metrics, health: Health
) -> None:
    headroom = Headroom(CgroupFiles(tmp_path, 256 * MIB).find(), trim=lambda: None)
    settings = ServerSettings(host="127.0.0.1", grpc_port=0)
    async with (
        GrpcReceiver(settings, sink, metrics, health, headroom=headroom) as receiver,
        RawHttp2Client(receiver.port) as client,
    ):
        client.call(1, Signal.TRACES.method)
        await client.data(1, message(spans())[:-1], end=True)
        (cut,) = await client.until(HEADERS)
        assert b"grpc-status\x013" in cut.payload  # INVALID_ARGUMENT
        assert b"not all of it" in cut.payload
        client.call(3, Signal.TRACES.method)
        client.send(Frame(DATA, END_STREAM, 3))
        _, none = await client.until(HEADERS, 2)
        assert none.flags & END_STREAM
        assert sink.requests == []
        labels = {"signal": "traces", "transport": "grpc", "code": "INVALID_ARGUMENT"}
        await turned_to(lambda: metrics.registry.get_sample_value("otlp_receiver_requests_total", labels) == 2)


async def test_a_message_that_grpc_refuses_by_itself_is_not_counted_as_taken(
    tmp_path: Path, sink: Sink, metrics: Metrics, health: Health
) -> None:
    async with limited(CgroupFiles(tmp_path, 256 * MIB), sink, metrics, health) as (headroom, channel):
        assert (await refusal(channel, bytes(51 * MIB))).code() is Code.RESOURCE_EXHAUSTED
        await turned_to(lambda: headroom.promised == 0)
    labels = {"signal": "traces", "transport": "grpc", "code": "OK"}
    assert metrics.registry.get_sample_value("otlp_receiver_requests_total", labels) is None


async def test_health_and_reflection_ask_for_memory_too(
    tmp_path: Path, sink: Sink, metrics: Metrics, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.memory.headroom._READ_SECONDS", 0)
    files = CgroupFiles(tmp_path, 256 * MIB)
    async with limited(files, sink, metrics, health) as (headroom, channel):
        reflecting = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )

        async def names() -> list[str]:
            asked = iter([ServerReflectionRequest(list_services="*")])
            return [each.name async for answer in reflecting(asked) for each in answer.list_services_response.service]

        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
        assert await check(b"", timeout=PATIENCE) == b"\x08\x01"  # SERVING
        assert await anext(aiter(watch(b""))) == b"\x08\x01"
        assert "grpc.health.v1.Health" in await names()
        files.use(256 * MIB)
        for asking in (check(b"", timeout=PATIENCE), anext(aiter(watch(b""))), names()):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await asking
            assert error.value.code() is Code.UNAVAILABLE
            assert "memory is short" in str(error.value.details())
        assert headroom.promised < MIB


async def test_the_metadata_of_calls_that_wait_is_promised_room(
    tmp_path: Path, sink: Sink, metrics: Metrics, health: Health
) -> None:
    files = CgroupFiles(tmp_path, 256 * MIB)
    files.use(228 * MIB - 20_000)  # a call with 15,000 bytes takes 21,200
    async with limited(files, sink, metrics, health) as (headroom, channel):
        call = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", metadata=(("much", "x" * 15_000),))
        assert await call.code() is Code.UNAVAILABLE
        assert str(await call.details()).startswith("memory is short: 21")
        await turned_to(lambda: headroom.promised == 0)


async def test_a_client_that_leaves_before_its_message_is_whole_leaves_no_promise(
    tmp_path: Path, sink: Sink, metrics: Metrics, health: Health
) -> None:
    async with limited(CgroupFiles(tmp_path, 256 * MIB), sink, metrics, health) as (headroom, channel):
        call = channel.stream_unary(Signal.TRACES.method)()
        await call.wait_for_connection()
        await turned_to(lambda: headroom.promised >= 100 * MIB)
        call.cancel()
        await turned_to(lambda: headroom.promised == 0)


async def turned_to(condition: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return condition()

    await until(holds, "what is promised")
