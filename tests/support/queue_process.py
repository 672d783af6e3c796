"""A real queue in a process of its own, which can be ended in the midst of any call that changes its files.

    with QueueProcesses(tmp_path) as processes:
        process = processes.start()
        process.ask("open", Storage(...))
        process.ask("crash_at", str(directory), 3, TORN, 128)
        process.ask("append", ...)                              # raises Ended

A kill takes the process and nothing else: what it wrote is in the page cache, synced or not. That what was acknowledged
is synced is for `scripts/power-cut` to show.
"""

import asyncio
import ctypes
import os
import subprocess
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from signal import SIGKILL
from types import TracebackType
from typing import Any, Literal, Self

from app.core.clock import SystemClock
from app.core.errors import InvalidData, Retryable, TooLarge
from app.core.request import ExportRequest, Signal
from app.queue import DiskQueue, Lease, LmdbStore, MemoryQueue, Queue
from app.queue.letters import Selection
from app.telemetry.metrics import Metrics
from tests.support.patience import PATIENCE
from tests.support.process import Unexpected

__all__ = [
    "AFTER",
    "BEFORE",
    "TORN",
    "Ended",
    "Figures",
    "Letter",
    "QueueProcess",
    "QueueProcesses",
    "Storage",
    "Taken",
]

SOURCE = Path(__file__).with_name("crash.c")
BEFORE, AFTER, TORN = range(3)
"""When a process ends: before the call, after it, or when a part of what it writes is written."""

_ROOM_SECONDS = 0.005
_CROWDED_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Storage:
    """What a queue is opened with."""

    directory: Path | None
    """None: a queue in memory."""
    max_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What a queue says of itself."""

    items: dict[Signal, int]
    waiting: dict[Signal, int]
    dead_items: dict[Signal, int]
    dead_letters: dict[Signal, int]
    used_bytes: int
    capacity_bytes: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A lease: its number, and its entries as sequence number, items and body."""

    number: int
    entries: list[tuple[int, int, bytes]]


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter."""

    sequence: int
    signal: Signal
    items: int
    body: bytes


class Ended(Exception):
    """The process has ended; `status` is as `os.waitpid` gives it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the queue's process ended, status {status}")
        self.status = status


class QueueProcesses:
    """Makes processes of one that has everything loaded, so that each takes milliseconds."""

    def __init__(self, directory: Path) -> None:
        self._address = str(directory / "socket")
        self._library = directory / "crash.so"

    def __enter__(self) -> Self:
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", self._library, SOURCE], check=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COV_")}
        kept.pop("COVERAGE_PROCESS_CONFIG", None)  # a process that is killed has nothing to tell, and others take long
        self._first = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"from {__name__} import _main; _main({self._address!r})",
            ],  # its classes have one name
            cwd=SOURCE.parents[2],
            env=kept | {"LD_PRELOAD": str(self._library)},
            stdout=subprocess.PIPE,
        )
        assert self._first.stdout is not None
        assert self._first.stdout.readline() == b"ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._first.kill()
        self._first.communicate()

    def start(self) -> "QueueProcess":
        return QueueProcess(self._address)


class QueueProcess:
    """One life of a queue."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection = _connect(address, None)
        self._pid: int = self._connection.recv()
        self._status: int | None = None

    def ask(self, operation: str, *arguments: object) -> Any:
        """Have a method of `_Host` called; returns what it does.

        Raises:
            Ended: the process is no more, and nobody knows whether it did it.
        """
        self.send(operation, *arguments)
        try:
            if not self._connection.poll(PATIENCE):
                raise TimeoutError(f"{operation} takes more than {PATIENCE} s")
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            raise Ended(self.wait()) from None
        if isinstance(answer, _Failure):
            raise Unexpected(f"{operation} failed in the queue's process\n{answer.trace}")
        return answer

    def send(self, operation: str, *arguments: object) -> None:
        """Ask, and do not wait for the answer."""
        with suppress(ConnectionError):  # it ended since the last answer, as will be seen when this one does not come
            self._connection.send((operation, arguments))

    def kill(self) -> None:
        """End it as the kernel would. Safe to call twice."""
        if self._status is None:
            os.kill(self._pid, SIGKILL)
            self.wait()
        self._connection.close()

    def wait(self) -> int:
        """Wait for its end; returns its status, as `os.waitpid` gives it."""
        if self._status is None:
            with _connect(self._address, self._pid) as connection:
                self._status = connection.recv()
        assert self._status is not None
        return self._status


def _connect(address: str, question: int | None) -> "Connection[Any, Any]":
    connection = Client(address, "AF_UNIX")
    connection.send(question)
    return connection


@dataclass(frozen=True, slots=True)
class _Failure:
    """An exception, which need not survive being sent."""

    trace: str


class _Host:
    """What a process can be asked to do."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._opened: Queue | None = None
        self._leases: dict[int, Lease] = {}
        self._count = 0

    @property
    def _queue(self) -> Queue:
        assert self._opened is not None
        return self._opened

    async def crash_at(self, directory: str, number: int, when: int, part: int) -> None:
        self._library.crash_at(directory.encode(), ctypes.c_long(number), when, part)

    async def open(self, storage: Storage) -> None:
        clock = SystemClock()
        if storage.directory is None:
            queue: Queue = MemoryQueue(max_bytes=storage.max_bytes, patience=_ROOM_SECONDS, clock=clock)
        else:
            queue = DiskQueue(
                LmdbStore(storage.directory, storage.max_bytes),
                max_bytes=storage.max_bytes,
                memory_bytes=storage.memory_bytes,
                patience=_ROOM_SECONDS,
                clock=clock,
                metrics=Metrics("test"),
            )
        self._opened = await queue.__aenter__()

    async def close(self) -> None:
        await self._queue.__aexit__(None, None, None)
        self._opened = None
        self._leases.clear()

    async def append(self, requests: list[ExportRequest]) -> list[int | str]:
        """Append all at once: each one's sequence number, or why it was refused."""
        return await asyncio.gather(*(self._append(request) for request in requests))

    async def _append(self, request: ExportRequest) -> int | str:
        counted: list[int] = []
        try:
            sequence = await self._queue.append(request, counted.append)
        except (Retryable, TooLarge) as error:
            assert not counted, "what is refused is not counted"
            return error.reason
        assert counted == [request.items]
        return sequence

    async def lease(self, signal: Signal, max_bytes: int, crowded: bool) -> Taken | Literal["crowded"] | None:
        """Lease. Where memory may be full of what is leased, not for ever: then the result is "crowded"."""
        leasing = asyncio.ensure_future(self._queue.lease(signal, max_bytes))
        await asyncio.wait({leasing}, timeout=_CROWDED_SECONDS if crowded else PATIENCE)
        if not leasing.done():
            leasing.cancel()
            await asyncio.wait({leasing})
            return "crowded"
        lease = leasing.result()
        return None if lease is None else self._keep(lease)

    def _keep(self, lease: Lease) -> Taken:
        self._count += 1
        self._leases[self._count] = lease
        assert lease.request.items == sum(entry.items for entry in lease.entries)
        return Taken(self._count, [(entry.sequence, entry.items, bytes(body)) for entry, body in lease.bodies()])

    async def settle(self, number: int) -> None:
        self._queue.settle(self._leases.pop(number))

    async def release(self, number: int) -> None:
        self._queue.release(self._leases.pop(number))

    async def bury(self, number: int, remainder: ExportRequest | None) -> None:
        self._queue.bury(self._leases.pop(number), InvalidData("no"), remainder)

    async def divide(self, number: int, first: int) -> list[Taken]:
        """Divide a lease into its first entries and the others."""
        lease = self._leases.pop(number)
        parts = self._queue.divide(lease, [lease.entries[:first], lease.entries[first:]])
        return [self._keep(part) for part in parts]

    async def letters(self) -> list[Letter]:
        """The dead letters, those of the last moment too."""
        await self._queue.committed()
        found = []
        for letter in await self._queue.dead.find(limit=1 << 30):
            request = await self._queue.dead.read(letter.sequence)
            assert request is not None
            assert (request.signal, request.items) == (letter.signal, letter.items)
            assert letter.size == len(request.body)
            found.append(Letter(letter.sequence, letter.signal, letter.items, request.body))
        return found

    async def replay(self, selection: Selection) -> tuple[int, int, int]:
        moved = await self._queue.dead.replay(selection)
        return moved.letters, moved.items, moved.left

    async def purge(self, selection: Selection) -> tuple[int, int]:
        gone: list[int] = []
        moved = await self._queue.dead.purge(selection, lambda _, items: gone.append(items))
        assert sum(gone) == moved.items
        return moved.letters, moved.items

    async def committed(self) -> None:
        await self._queue.committed()

    async def figures(self) -> Figures:
        queue = self._queue
        return Figures(
            {signal: queue.items(signal) for signal in Signal},
            {signal: queue.waiting(signal) for signal in Signal},
            {signal: queue.dead.items(signal) for signal in Signal},
            {signal: queue.dead.letters(signal) for signal in Signal},
            queue.used_bytes,
            queue.capacity_bytes,
        )


async def _serve(connection: "Connection[Any, Any]") -> None:
    host = _Host()
    while True:
        try:
            operation, arguments = await asyncio.to_thread(connection.recv)
        except EOFError:
            return
        answer: object
        try:
            answer = await getattr(host, operation)(*arguments)
        except Exception:  # noqa: BLE001 - whoever asked is told
            answer = _Failure(traceback.format_exc())
        connection.send(answer)


def _main(address: str) -> None:
    """Make a process for each connection; one that names a process waits for the end of that."""
    with Listener(address, "AF_UNIX") as listener:
        print("ready", flush=True)  # noqa: T201 - whoever started this waits for the line
        while True:
            with listener.accept() as connection:
                asked: int | None = connection.recv()
                if asked is not None:
                    connection.send(os.waitpid(asked, 0)[1])
                elif not os.fork():
                    listener.close()
                    connection.send(os.getpid())
                    asyncio.run(_serve(connection))
                    os._exit(0)
