"""The OTLP/gRPC receiver on pygrpc-native: what is its own."""

import asyncio
import tempfile
from pathlib import Path

import grpc
import grpc.aio
import pytest

from app.core.request import Signal
from app.health import Health
from app.memory import COPIES, Headroom
from app.receivers.grpc_native import NativeGrpcReceiver
from app.receivers.tls import ServerTls
from app.settings import ServerSettings
from app.settings.model import ServerTlsSettings
from app.telemetry.metrics import Metrics
from tests.support.certificates import Certificates
from tests.support.cgroup_files import CgroupFiles
from tests.support.patience import PATIENCE
from tests.support.payload import spans
from tests.support.process import until
from tests.support.sink import Sink

MIB = 1 << 20
PATH = Signal.TRACES.method
SETTINGS = ServerSettings(host="127.0.0.1", grpc_port=0)


async def export(receiver: NativeGrpcReceiver, body: bytes, **options: object) -> bytes:
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{receiver.port}", [("grpc.use_local_subchannel_pool", 1)])
    async with channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PATH)
        return await call(body, timeout=PATIENCE, **options)  # type: ignore[arg-type]  # a test's own options


async def refusal(receiver: NativeGrpcReceiver, body: bytes, **options: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await export(receiver, body, **options)
    return error.value


async def test_what_is_under_way_is_finished_and_what_comes_is_told_to_come_back(
    sink: Sink, metrics: Metrics, health: Health
) -> None:
    async with NativeGrpcReceiver(SETTINGS, sink, metrics, health) as receiver:
        sink.hold()
        under_way = asyncio.create_task(export(receiver, spans()))
        await sink.wait_for_callers(1)
        finish = asyncio.create_task(receiver.finish(PATIENCE))
        await asyncio.sleep(0)
        error = await refusal(receiver, spans())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "google.rpc.retryinfo-bin" in dict(error.trailing_metadata() or ())
        sink.release()
        assert await under_way == b""
        await finish
        assert (await refusal(receiver, spans())).code() is grpc.StatusCode.UNAVAILABLE
    assert len(sink.requests) == 1


async def test_metadata_above_its_bound_is_refused_for_good(sink: Sink, metrics: Metrics, health: Health) -> None:
    async with NativeGrpcReceiver(SETTINGS, sink, metrics, health) as receiver:
        error = await refusal(receiver, spans(), metadata=(("much", "x" * (17 << 10)),))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "google.rpc.retryinfo-bin" not in dict(error.trailing_metadata() or ())
        assert await export(receiver, spans(), metadata=(("some", "x" * (14 << 10)),)) == b""
    assert len(sink.requests) == 1


async def test_a_message_is_promised_memory_when_it_has_come(
    tmp_path: Path, sink: Sink, metrics: Metrics, health: Health
) -> None:
    files = CgroupFiles(tmp_path, 256 * MIB)
    headroom = Headroom(files.find(), trim=lambda: None)
    async with NativeGrpcReceiver(SETTINGS, sink, metrics, health, headroom=headroom) as receiver:
        sink.hold()
        body = spans(10)
        call = asyncio.create_task(export(receiver, body))
        await sink.wait_for_callers(1)
        assert headroom.promised == COPIES * len(body)
        sink.release()
        assert await call == b""
        assert headroom.promised == 0
        files.use(256 * MIB)

        async def refused() -> bool:
            try:
                await export(receiver, spans(name="x" * MIB))
            except grpc.aio.AioRpcError as error:
                return (error.code(), str(error.details())[:15]) == (grpc.StatusCode.UNAVAILABLE, "memory is short")
            return False

        await until(refused, "memory is short")


async def test_tls_is_not_to_be_had(tmp_path: Path, sink: Sink, metrics: Metrics, health: Health) -> None:
    certificates = Certificates(tmp_path)
    tls = ServerTls(
        ServerTlsSettings(cert_file=certificates.server_cert_file, key_file=certificates.server_key_file), metrics
    )
    with pytest.raises(ValueError, match="'native' has no TLS; write grpcio"):
        NativeGrpcReceiver(SETTINGS, sink, metrics, health, tls=tls)


async def test_a_temporary_directory_with_too_long_a_name_is_told(
    sink: Sink, metrics: Metrics, health: Health, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / ("long" * 25)
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    with pytest.raises(OSError, match=r"TMPDIR: .*long is too long a path .* choose a shorter one"):
        async with NativeGrpcReceiver(SETTINGS, sink, metrics, health):
            pass
