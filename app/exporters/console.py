"""For a terminal: traces as trees, a line for each data point and log record."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TextIO

from google.protobuf.message import DecodeError

from app.core.errors import InvalidData, Retryable
from app.core.request import ExportRequest
from app.exporters.attempts import Attempts
from app.exporters.canvas import Style, canvas_for
from app.exporters.lines import lines

__all__ = ["ConsoleExporter"]


class ConsoleExporter:
    """Prints in a thread of its own, because a terminal or a pipe may make one wait."""

    def __init__(self, stream: TextIO, attempts: Attempts) -> None:
        self._stream = stream
        self._attempts = attempts
        self._services: dict[str, Style] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="console")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=False)

    async def consume(self, request: ExportRequest) -> None:
        """Print `request`.

        Raises:
            Retryable: the stream does not take it.
            InvalidData: it is no export request.
        """
        began = self._attempts.begin()
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._print, request)
        except asyncio.CancelledError:
            self._attempts.cut(request.signal, began)
            raise
        except OSError as error:
            self._attempts.end(request.signal, "UNAVAILABLE", began)
            raise Retryable(f"the console takes nothing: {error}", reason="unavailable") from error
        except DecodeError as error:
            self._attempts.end(request.signal, "INVALID_ARGUMENT", began)
            raise InvalidData(f"a batch of {request.signal.value} cannot be read: {error}") from error
        self._attempts.end(request.signal, "OK", began)

    def _print(self, request: ExportRequest) -> None:
        canvas = canvas_for(self._stream, services=self._services)
        text = "".join(f"{line}\n" for line in lines(request, canvas))
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        self._stream.flush()
