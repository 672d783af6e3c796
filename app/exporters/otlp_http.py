"""OTLP/HTTP: one POST of protobuf per batch."""

import asyncio
import os
import ssl
from base64 import b64encode
from collections.abc import Mapping
from contextlib import AsyncExitStack
from errno import errorcode
from types import SimpleNamespace, TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from app.core.clock import Clock
from app.core.errors import Retryable
from app.core.instance import HEADER, Instance
from app.core.log import Log
from app.core.request import ExportRequest, Signal
from app.exporters.answer import PartialSuccess, plain, read_partial_success
from app.exporters.attempts import Attempts
from app.exporters.compress import Compressor
from app.exporters.verdict import HttpAnswer, http_error, media_type
from app.settings import ExporterSettings
from app.settings.endpoint import mask_url
from app.settings.headers import HeadersFile
from app.settings.tls import client_context

__all__ = ["HttpExporter"]

_log = Log(__name__)
_CONNECT_TIMEOUT = 10.0
_ANSWER_LIMIT = 4 << 20
_PROTOBUF = "application/x-protobuf"


class _Body(aiohttp.Payload):
    """Bytes of any size in one piece: aiohttp warns of more than 1 MiB, which a batch may well have."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type=_PROTOBUF)
        self._size = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await writer.write(self._value)


class HttpExporter:
    """Posts each request to its signal's URL. Bounded in time by whoever cancels it, but for connecting."""

    def __init__(
        self,
        settings: ExporterSettings,
        attempts: Attempts,
        headers: HeadersFile,
        user_agent: str,
        instance: Instance,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._attempts = attempts
        self._headers = headers
        self._instance = instance
        self._clock = clock
        self._compressor = Compressor(settings.compression)
        self._destinations = {signal: _Destination(settings.endpoint_for(signal)) for signal in Signal}
        self._fixed = {"user-agent": user_agent, "content-type": _PROTOBUF, "accept-encoding": "identity"}
        if self._compressor.encoding:
            self._fixed["content-encoding"] = self._compressor.encoding
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        secure = any(destination.url.scheme == "https" for destination in self._destinations.values())
        context = client_context(self._settings.tls) if secure else True
        async with AsyncExitStack() as stack:
            stack.callback(self._compressor.close)
            self._pooled = await stack.enter_async_context(self._session(context, force_close=False))
            self._fresh = await stack.enter_async_context(self._session(context, force_close=True))
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    def _session(self, context: ssl.SSLContext | bool, *, force_close: bool) -> aiohttp.ClientSession:
        reuse = aiohttp.TraceConfig()
        reuse.on_connection_reuseconn.append(_note_reuse)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._settings.concurrency * 3, ssl=context, force_close=force_close),
            timeout=aiohttp.ClientTimeout(total=None, connect=min(_CONNECT_TIMEOUT, self._settings.timeout)),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            trace_configs=[reuse],
        )

    async def consume(self, request: ExportRequest) -> None:
        """Post `request`.

        Raises:
            Retryable, Refused: as OTLP/HTTP tells them apart.
        """
        body = await self._compressor.compress(request.body)
        destination = self._destinations[request.signal]
        began = self._attempts.begin()
        try:
            answer = await self._post(destination, self._instance.names(request.signal), body)
        except asyncio.CancelledError:
            self._attempts.cut(request.signal, began)
            raise
        except TimeoutError as error:
            self._attempts.end(request.signal, "timeout", began)
            raise Retryable(f"{destination.name}: no connection in time", reason="unavailable") from error
        except (aiohttp.ClientError, OSError) as error:
            self._attempts.end(request.signal, "connection", began)
            raise Retryable(f"{destination.name}: {_explain(error)}", reason="unavailable") from error
        self._attempts.end(request.signal, str(answer.status), began)
        if not 200 <= answer.status < 300:
            raise http_error(destination.name, answer, self._clock.now_ns() / 1e9)
        self._attempts.taken(destination.name, request, _partial_success(destination.name, request.signal, answer))

    async def _post(self, destination: "_Destination", instances: str, body: bytes) -> HttpAnswer:
        headers = {**destination.headers, **self._headers.current(), **self._fixed, HEADER: instances}
        attempt = SimpleNamespace(reused=False)
        try:
            return await _exchange(self._pooled, destination.url, headers, body, attempt)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # The other side may close a kept-alive connection whenever it likes, and could not have said so.
            if not attempt.reused:
                raise
            return await _exchange(self._fresh, destination.url, headers, body, attempt)


class _Destination:
    """Where a signal goes; its name is fit for messages."""

    def __init__(self, endpoint: str) -> None:
        url = URL(endpoint)
        self.name = mask_url(endpoint)
        self.url = url.with_user(None)
        self.headers: dict[str, str] = {}
        if url.user is not None:
            credentials = b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
            self.headers["authorization"] = f"Basic {credentials}"


async def _note_reuse(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.reused = True


async def _exchange(
    session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str], body: bytes, attempt: SimpleNamespace
) -> HttpAnswer:
    async with session.post(
        url, data=_Body(body), headers=headers, allow_redirects=False, trace_request_ctx=attempt
    ) as response:
        body = await _read(response)
        return HttpAnswer(response.status, response.headers, body[:_ANSWER_LIMIT], len(body) > _ANSWER_LIMIT)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, or somewhat more than the limit of it. What breaks off takes nothing from the status, the answer."""
    body = bytearray()
    try:
        while piece := await response.content.readany():
            body += piece
            if len(body) > _ANSWER_LIMIT:
                response.close()
                break
    except (aiohttp.ClientError, OSError) as error:
        _log.debug(
            "answer_broke_off",
            "an answer of status %(status)d broke off: %(reason)s",
            status=response.status,
            reason=str(error),
        )
    return bytes(body)


def _partial_success(destination: str, signal: Signal, answer: HttpAnswer) -> PartialSuccess:
    if not answer.body:
        return PartialSuccess()
    media = media_type(answer.headers) or _PROTOBUF
    try:
        if answer.oversized:
            raise ValueError(f"it has more than {_ANSWER_LIMIT} bytes")  # noqa: TRY301 - told in one place
        if media not in {_PROTOBUF, "application/json"}:
            raise ValueError(f"its content type is {media!r}")  # noqa: TRY301 - told in one place
        return read_partial_success(signal, answer.body, json=media == "application/json")
    except ValueError as error:
        _log.debug(
            "http_answer_says_nothing",
            "%(destination)s took the %(noun)s with an answer that says nothing: %(reason)s",
            destination=destination,
            noun=signal.noun,
            reason=plain(str(error)),
        )
        return PartialSuccess()


def _explain(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not trusted: {error.certificate_error}; see exporter.tls.ca_file"
        case aiohttp.ClientConnectorError():
            return f"no connection: {_reason(error.os_error)}"
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection without an answer"
        case aiohttp.ClientOSError(errno=None):  # aiohttp's own words name the URL once more, and no reason
            return "it closed the connection while the request was being sent"
        case aiohttp.ClientResponseError():
            return f"it answered what is not HTTP ({plain(error.message)}); see exporter.protocol"
        case _:
            return plain(str(error)) or type(error).__name__


def _reason(error: OSError) -> str:
    """What the system says, without the address once more; TLS and name servers have words of their own."""
    number = error.errno or 0
    if number in errorcode and not isinstance(error, ssl.SSLError):
        return os.strerror(number)
    return plain(str(error))
