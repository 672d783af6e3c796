"""A scripted OTLP destination on real sockets: HTTP and gRPC at once, every request recorded.

    async with Backend() as backend:
        backend.script(Http(503, headers={"Retry-After": "1"}), Close())    # then `backend.otherwise`: Success()
        ...
        await backend.received(lambda b: len(b.spans()) == 3)

It also runs as a process of its own, which appends a JSON line to FILE for each item that it takes, before it answers:

    python -m tests.support.backend --http 4318 --grpc 4317 --record FILE
"""

import asyncio
import json
import signal as signals
from argparse import ArgumentParser
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from app.core.request import Signal
from tests.support.backend_grpc import GrpcSide
from tests.support.backend_http import HttpSide
from tests.support.certificates import Certificates
from tests.support.exchange import Answer, Delay, Hang, Partial, Received, Success, Unheard
from tests.support.items import Item, items_of
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

__all__ = ["Backend"]


class Backend:
    """Serves from entering to leaving, but for while it is stopped.

    Args:
        http_port: for OTLP/HTTP; 0 is any free one.
        grpc_port: for OTLP/gRPC; 0 is any free one.
        tls: serve both over TLS.
        mutual: ask clients for a certificate.
        breaks_calls: have a relay before gRPC that can break a call; not over TLS.
        record: a file that gets a JSON line for each item that is taken.
    """

    def __init__(
        self,
        *,
        http_port: int = 0,
        grpc_port: int = 0,
        tls: Certificates | None = None,
        mutual: bool = False,
        breaks_calls: bool = False,
        record: Path | None = None,
    ) -> None:
        self.requests: list[Received] = []
        """Every request, in the order of arrival."""
        self.taken: list[Received] = []
        """Those that were answered with success, or would have been if the answer had not been lost."""
        self.unheard: list[Received] = []
        """Those of them of which the answer was lost."""
        self.abandoned: list[Received] = []
        """Those that were not answered, because the client gave up or the backend ended."""
        self.otherwise: Answer | Callable[[Received], Answer] = Success()
        """The answer when the script has none."""
        self._script: deque[Answer] = deque()
        context = None if tls is None else tls.server_context(mutual=mutual)
        # Never a port that the kernel chose: while the backend is stopped, it would give it to a client.
        self._http = HttpSide(self._ask, http_port or free_port(), context)
        self._grpc = GrpcSide(self._ask, grpc_port or free_port(), tls, mutual=mutual, breaks_calls=breaks_calls)
        self._scheme = "https" if tls else "http"
        self._record = record
        self._changed = asyncio.Condition()
        self._sides: AsyncExitStack | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Serve; does nothing to one that does."""
        if self._sides is None:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._http)
                await stack.enter_async_context(self._grpc)
                self._sides = stack.pop_all()

    async def stop(self) -> None:
        """Go away: connections are cut, and new ones are refused until the next start, which has the same ports."""
        if self._sides is not None:
            sides, self._sides = self._sides, None
            await sides.aclose()

    @property
    def http_port(self) -> int:
        return self._http.port

    @property
    def grpc_port(self) -> int:
        return self._grpc.port

    @property
    def http_endpoint(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.http_port}"

    @property
    def grpc_endpoint(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.grpc_port}"

    def script(self, *answers: Answer) -> None:
        """Answer the next requests so, one each."""
        self._script.extend(answers)

    def items(self, signal: Signal) -> list[Item]:
        """What was taken of `signal`."""
        return [item for taken in self.taken if taken.signal is signal for item in items_of(signal, taken.body)]

    def spans(self) -> list[Item]:
        return self.items(Signal.TRACES)

    def data_points(self) -> list[Item]:
        return self.items(Signal.METRICS)

    def log_records(self) -> list[Item]:
        return self.items(Signal.LOGS)

    async def received(self, condition: Callable[[Self], bool], *, timeout: float = PATIENCE) -> None:  # noqa: ASYNC109 - a bound
        """Wait until `condition` of this backend holds; it is looked at whenever something happens to it."""
        async with asyncio.timeout(timeout), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    async def _ask(self, received: Received) -> Answer:
        """Record a request and decide its answer. Cancelled when the client gives up."""
        self.requests.append(received)
        await self._notify()
        try:
            answer = await self._decide(received)
        except asyncio.CancelledError:
            self.abandoned.append(received)
            await self._notify()
            raise
        if isinstance(answer, Unheard):
            self.unheard.append(received)
        if isinstance(answer, Success | Partial | Unheard):
            self._take(received)
            await self._notify()
        return answer

    async def _decide(self, received: Received) -> Answer:
        answer = self._script.popleft() if self._script else self.otherwise
        if callable(answer):
            answer = answer(received)
        while isinstance(answer, Delay):
            await asyncio.sleep(answer.seconds)
            answer = answer.then
        if isinstance(answer, Hang):
            await asyncio.get_running_loop().create_future()
        return answer

    def _take(self, received: Received) -> None:
        self.taken.append(received)
        if self._record is not None:
            with self._record.open("a") as file:
                file.writelines(f"{json.dumps(asdict(item))}\n" for item in items_of(received.signal, received.body))

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


async def _run(http_port: int, grpc_port: int, record: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signals.SIGTERM, signals.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Backend(http_port=http_port, grpc_port=grpc_port, record=record) as backend:
        ports = {"http": backend.http_port, "grpc": backend.grpc_port}
        print(json.dumps(ports), flush=True)  # noqa: T201 - whoever started this waits for the line
        await stop.wait()


def _main() -> None:
    parser = ArgumentParser(description="An OTLP destination that takes everything.")
    parser.add_argument("--http", type=int, default=0, help="the port for OTLP/HTTP; any free one without it")
    parser.add_argument("--grpc", type=int, default=0, help="the port for OTLP/gRPC; any free one without it")
    parser.add_argument("--record", type=Path, help="append a JSON line for each item that is taken")
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.http, arguments.grpc, arguments.record))


if __name__ == "__main__":
    _main()
