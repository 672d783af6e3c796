"""OTLP/gRPC: one unary call per batch, on bytes.

It uses grpcio's threaded stack rather than `grpc.aio`, because gRPC compresses in the thread that starts a call:
with `grpc.aio` that is the event loop's, which then stands still for 15 ms per MB.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Protocol, Self

import grpc

from app.core.instance import HEADER, Instance
from app.core.log import Log
from app.core.request import ExportRequest, Signal
from app.exporters.answer import PartialSuccess, plain, read_partial_success
from app.exporters.attempts import Attempts
from app.exporters.tls import channel_credentials
from app.exporters.verdict import grpc_error
from app.settings import ExporterSettings
from app.settings.headers import HeadersFile

__all__ = ["GrpcExporter"]

_log = Log(__name__)
_INLINE_BYTES = 16 * 1024
"""Up to here gRPC's gzip takes less time (0.1 ms) than a trip to a thread."""

_ANSWER_LIMIT = 4 << 20
_METADATA_LIMIT = 1 << 16
"""A status whose words and details are longer is lost, and taken for a refusal of the data; gRPC's default is 8 KiB."""

_OWN_LIMIT = "CLIENT: Received message larger than max"
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", _ANSWER_LIMIT),
    ("grpc.max_metadata_size", _METADATA_LIMIT),
    ("grpc.absolute_max_metadata_size", _METADATA_LIMIT),
    ("grpc.http2.bdp_probe", 0),  # answers are small, and windows that grow would hold 40 MB of one without an end
    ("grpc.lb_policy_name", "round_robin"),  # over all addresses of a headless service, as collectors do
    ("grpc.service_config_disable_resolution", 1),  # how to retry is not for DNS to say
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 10_000),  # how long connecting may take
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # A peer that is gone without a word is noticed by what it does not acknowledge within keepalive_timeout (gRPC
    # sets TCP_USER_TIMEOUT to it). Pings alone come seldom: servers hang up on more than one in five minutes.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


class _Call(Protocol):
    """What is used of the future that grpcio gives for a call."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str: ...
    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]]: ...
    def result(self) -> bytes: ...
    def cancel(self) -> bool: ...


class GrpcExporter:
    """Calls ``Export`` of each request's signal, with the deadline of `exporter.timeout`."""

    def __init__(
        self,
        settings: ExporterSettings,
        attempts: Attempts,
        headers: HeadersFile,
        user_agent: str,
        instance: Instance,
    ) -> None:
        if settings.compression == "zstd":
            raise ValueError("exporter.compression: gRPC knows no zstd; write gzip or none")
        self._settings = settings
        self._attempts = attempts
        self._headers = headers
        self._instance = instance
        self._gzip = settings.compression == "gzip"
        self._options = (*_OPTIONS, ("grpc.primary_user_agent", user_agent))
        self._targets = {signal: settings.endpoint_for(signal) for signal in Signal}
        self._methods: dict[Signal, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="grpc-start")
            stack.callback(self._threads.shutdown, wait=False)
            channels: dict[tuple[str, bool], grpc.Channel] = {}
            for signal, target in self._targets.items():
                key = target, self._settings.secure(signal)
                if key not in channels:
                    channels[key] = stack.enter_context(self._channel(*key))
                self._methods[signal] = channels[key].unary_unary(signal.method)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    def _channel(self, target: str, secure: bool) -> grpc.Channel:
        compression = grpc.Compression.Gzip if self._gzip else grpc.Compression.NoCompression
        if not secure:
            return grpc.insecure_channel(target, self._options, compression)
        return grpc.secure_channel(target, channel_credentials(self._settings.tls), self._options, compression)

    async def consume(self, request: ExportRequest) -> None:
        """Send `request`.

        Raises:
            Retryable, Refused: as OTLP/gRPC tells them apart.
        """
        target = self._targets[request.signal]
        began = self._attempts.begin()
        try:
            call = await self._call(request)
        except asyncio.CancelledError:
            self._attempts.cut(request.signal, began)
            raise
        code, details = call.code(), call.details() or ""
        self._attempts.end(request.signal, code.name, began)
        if code is grpc.StatusCode.OK:
            self._attempts.taken(target, request, _partial_success(target, request.signal, call.result()))
        elif code is grpc.StatusCode.RESOURCE_EXHAUSTED and _OWN_LIMIT in details:
            _log.debug(
                "answer_too_large",
                "%(destination)s took the %(noun)s with an answer above %(limit_bytes)d bytes",
                destination=target,
                noun=request.signal.noun,
                limit_bytes=_ANSWER_LIMIT,
            )
        else:
            raise grpc_error(target, code, details, dict(call.trailing_metadata() or ()))

    async def _call(self, request: ExportRequest) -> _Call:
        """The call of `request` once it has ended; one that nobody waits for any longer is cancelled."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[_Call] = loop.create_future()
        metadata = (*self._headers.current().items(), (HEADER, self._instance.names(request.signal)))

        def start() -> None:
            call = self._methods[request.signal].future(request.body, self._settings.timeout, metadata)
            call.add_done_callback(lambda call: _tell(loop, end, call))
            _tell(loop, ended.add_done_callback, lambda _: call.cancel())

        def end(call: _Call) -> None:
            if not ended.done():
                ended.set_result(call)

        try:
            if self._gzip and len(request.body) > _INLINE_BYTES:
                await loop.run_in_executor(self._threads, start)
            else:
                start()
            return await ended
        finally:
            ended.cancel()  # does nothing to one that has ended


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[[Any], object], value: object) -> None:
    """Call `function` in the event loop."""
    with contextlib.suppress(RuntimeError):  # the loop is closed, and with it went whoever waited
        loop.call_soon_threadsafe(function, value)


def _partial_success(target: str, signal: Signal, answer: bytes) -> PartialSuccess:
    try:
        return read_partial_success(signal, answer, json=False) if answer else PartialSuccess()
    except ValueError as error:
        _log.debug(
            "grpc_answer_says_nothing",
            "%(destination)s took the %(noun)s with an answer that says nothing: %(reason)s",
            destination=target,
            noun=signal.noun,
            reason=plain(str(error)),
        )
        return PartialSuccess()
