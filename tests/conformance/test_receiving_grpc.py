"""OTLP/gRPC as a client sees it. Each test names the section of the OTLP specification that it proves."""

import asyncio

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from app.core.request import Signal
from tests.support.exchange import Hang, Http, Success
from tests.support.gateway import RESPONSES, Gateway, details_of, trailers_of
from tests.support.patience import PATIENCE
from tests.support.payload import one_item, spans
from tests.support.wire import field

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", params=["grpcio", "native"])
def engine(request: pytest.FixtureRequest) -> str:
    """Both speak OTLP."""
    return str(request.param)


compressions = pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip], ids=lambda compression: compression.name
)
signals = pytest.mark.parametrize("signal", Signal, ids=lambda signal: signal.value)
Code = grpc.StatusCode
FREE, METERED = (("x-api-key", "free"),), (("x-api-key", "metered"),)
LARGE = 256 << 10
"""What `gateway` takes."""


async def refusal(
    gateway: Gateway,
    body: bytes,
    signal: Signal = Signal.TRACES,
    *,
    compression: grpc.Compression | None = None,
    metadata: tuple[tuple[str, str], ...] = (),
) -> grpc.aio.AioRpcError:
    """How a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await gateway.call(body, signal, compression=compression, metadata=metadata)
    return error.value


async def first_refusal(gateway: Gateway, body: bytes, metadata: tuple[tuple[str, str], ...]) -> grpc.aio.AioRpcError:
    """How the first of many calls is refused that does not succeed."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await gateway.call(body, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                return error


def hint(error: grpc.aio.AioRpcError) -> float | None:
    """The seconds of the RetryInfo in the details of a refusal."""
    details = details_of(error).details
    if not details:
        return None
    info = RetryInfo()
    assert details[0].Unpack(info)
    assert trailers_of(error)["google.rpc.retryinfo-bin"] == info.SerializeToString(), "and where Python's SDK looks"
    return float(info.retry_delay.ToMilliseconds() / 1000)


@signals
@compressions
async def test_a_request_is_answered_with_an_empty_response_and_arrives(
    gateway: Gateway, signal: Signal, compression: grpc.Compression
) -> None:
    """OTLP/gRPC; Full Success: partial_success unset. Protocol Details: none and gzip MUST be supported."""
    body = one_item(signal)
    answer, arrived = await gateway.arrives(gateway.call(body, signal, compression=compression))
    assert not RESPONSES[signal].FromString(answer).HasField("partial_success")
    assert arrived == body


@signals
@pytest.mark.parametrize("body", [b"", b"\x0a\x00", b"\x0a\x02\x12\x00"], ids=["nothing", "a resource", "a scope"])
async def test_a_request_without_telemetry_succeeds_and_goes_nowhere(
    gateway: Gateway, signal: Signal, body: bytes
) -> None:
    """Full Success: an empty request SHOULD succeed. Empty Telemetry Envelopes: receivers MAY ignore them."""
    before = await gateway.accepted(), len(gateway.backend.requests)
    assert not RESPONSES[signal].FromString(await gateway.call(body, signal)).HasField("partial_success")
    assert (await gateway.accepted(), len(gateway.backend.requests)) == before


@signals
async def test_unknown_fields_are_passed_on(gateway: Gateway, signal: Signal) -> None:
    """Future Versions and Interoperability: fields of a newer version are ignored, and a gateway loses none."""
    body = field(999, b"of the request") + one_item(signal) + field(1, field(998, b"of a resource"))
    _, arrived = await gateway.arrives(gateway.call(body, signal))
    assert arrived == body


async def test_requests_in_flight_together_are_all_answered(gateway: Gateway) -> None:
    """OTLP/gRPC Concurrent Requests: unary calls may be under way at once, also on one connection."""
    before = await gateway.accepted()
    async with grpc.aio.insecure_channel(gateway.service.grpc_target) as channel:
        exports = [channel.unary_unary(signal.method) for signal in Signal]
        calls = [export(one_item(signal)) for signal, export in zip(Signal, exports, strict=True) for _ in range(10)]
        assert await asyncio.gather(*calls) == [b""] * 30
    assert await gateway.accepted() == before + 30
    for signal in Signal:
        await gateway.service.settled(lambda s, signal=signal: s.books(signal).queued == 0, "all is delivered")


@signals
@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05\x00", b'{"resourceSpans":[]}'])
async def test_malformed_data_is_invalid_argument_and_not_to_be_sent_again(
    gateway: Gateway, signal: Signal, body: bytes
) -> None:
    """Failures: a non-retryable error is INVALID_ARGUMENT, with details that say why."""
    before = await gateway.accepted()
    error = await refusal(gateway, body, signal)
    assert (error.code(), hint(error)) == (Code.INVALID_ARGUMENT, None)
    assert details_of(error).message == error.details() != ""
    assert await gateway.accepted() == before


@compressions
async def test_a_message_above_the_limit_is_resource_exhausted_and_not_to_be_sent_again(
    gateway: Gateway, compression: grpc.Compression
) -> None:
    """OTLP/gRPC Request: a size limit, also after decompression; RESOURCE_EXHAUSTED as a non-retryable error."""
    error = await refusal(gateway, field(999, bytes(LARGE)), compression=compression)
    assert error.code() is Code.RESOURCE_EXHAUSTED
    assert "google.rpc.retryinfo-bin" not in trailers_of(error)
    assert not Status.FromString(trailers_of(error).get("grpc-status-details-bin", b"")).details


async def test_a_message_at_the_limit_is_taken(gateway: Gateway) -> None:
    """OTLP/gRPC Request: only what exceeds the limit is refused."""
    body = spans() + field(999, b"x" * (LARGE - len(spans()) - 5))  # two bytes of tag, three of length
    assert len(body) == LARGE
    _, arrived = await gateway.arrives(gateway.call(body))
    assert arrived == body


@pytest.mark.parametrize(
    "method",
    [
        "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Import",
    ],
)
async def test_another_method_is_unimplemented(gateway: Gateway, method: str) -> None:
    """OTLP/gRPC Service and Protobuf Definitions: three services with one method each."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await gateway.call(spans(), method=method)
    assert error.value.code() is Code.UNIMPLEMENTED


async def test_health_is_told_as_grpc_has_it(gateway: Gateway) -> None:
    """OTLP/gRPC: what a load balancer asks, by the gRPC Health Checking Protocol."""
    for service in ("", *(signal.service for signal in Signal)):
        request = HealthCheckRequest(service=service).SerializeToString()
        answer = await gateway.call(request, method="/grpc.health.v1.Health/Check")
        assert HealthCheckResponse.FromString(answer).status == HealthCheckResponse.SERVING


async def test_what_the_destination_finds_bad_is_invalid_argument(delivering: Gateway) -> None:
    """Failures: invalid for good is INVALID_ARGUMENT, whoever finds it so."""
    delivering.backend.script(Http(400, b"no such unit", {"Content-Type": "text/plain"}))
    error = await refusal(delivering, spans())
    assert (error.code(), hint(error)) == (Code.INVALID_ARGUMENT, None)
    assert "no such unit" in details_of(error).message


@pytest.mark.parametrize("shown", [(), (("authorization", "Bearer wrong"),), (("x-api-key", "wrong"),)])
async def test_who_shows_no_key_is_unauthenticated(guarded: Gateway, shown: tuple[tuple[str, str], ...]) -> None:
    """Failures: another code where it is more appropriate; not retryable by the table."""
    error = await refusal(guarded, spans(), metadata=shown)
    assert (error.code(), hint(error)) == (Code.UNAUTHENTICATED, None)


@pytest.mark.parametrize("shown", [("authorization", "Bearer free"), ("authorization", "bearer free"), *FREE])
async def test_who_shows_a_key_is_let_in(guarded: Gateway, shown: tuple[str, str]) -> None:
    """OTLP/gRPC Request: with the metadata that SDKs send for ``OTEL_EXPORTER_OTLP_HEADERS``."""
    _, arrived = await guarded.arrives(guarded.call(spans(), metadata=(shown,)))
    assert arrived == spans()


async def test_who_sends_more_than_allowed_is_resource_exhausted_with_retry_info(guarded: Gateway) -> None:
    """Failures: RESOURCE_EXHAUSTED is retryable where RetryInfo says when."""
    error = await first_refusal(guarded, spans(), METERED)
    assert (error.code(), hint(error)) == (Code.RESOURCE_EXHAUSTED, 3)


async def test_overload_is_unavailable_with_retry_info(guarded: Gateway) -> None:
    """OTLP/gRPC Throttling: UNAVAILABLE, with a RetryInfo that is not so long that clients drop data."""
    guarded.backend.otherwise = Hang()
    error = await first_refusal(guarded, spans(200, "n" * 20), FREE)
    assert error.code() is Code.UNAVAILABLE
    delay = hint(error)
    assert delay is not None
    assert 0 < delay <= 3
    guarded.backend.otherwise = Success()
    await guarded.backend.stop()  # who waits for an answer is to ask again
    await guarded.backend.start()
    await guarded.service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
