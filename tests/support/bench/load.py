"""Clients: h2load (nghttp2), which costs a fraction of what any gateway does, and is a process of its own."""

import asyncio
import os
import re
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from app.core.request import Signal

__all__ = ["Answered", "find_h2load", "load", "times_in"]

_STOP_SECONDS = 30.0
"""How much longer than its time it may take to end."""
_STREAMS = 1
"""Requests at once on a connection."""


def find_h2load() -> str | None:
    return shutil.which("h2load")


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of it."""

    requests: int
    """Answered 200. A refusal over gRPC is a 200, too; what arrives tells."""
    others: int
    """Refused, or broken off."""
    seconds: float
    milliseconds: list[float] = field(default_factory=list)
    """From each request to its answer, sorted; only where they were asked for."""


async def load(
    transport: Literal["http", "grpc"],
    port: int,
    body: Path,
    seconds: float,
    clients: int,
    *,
    requests: int | None = None,
    rate: float | None = None,
    times: Path | None = None,
) -> Answered:
    """Send the request in `body` for some seconds, on so many connections, a request at a time on each.

    Args:
        transport: what the gateway speaks at `port`.
        port: of 127.0.0.1.
        body: the file; a message with its frame for gRPC.
        seconds: how long.
        clients: connections.
        requests: so many, in place of for some seconds, which are then how long it may take.
        rate: requests a second of all of them together; as many as are answered without it.
        times: a file for the time of each request.

    Raises:
        RuntimeError: h2load did not do it.
    """
    command = [find_h2load() or "h2load", "-c", str(clients)]
    command += ["-D", f"{round(1000 * seconds)}ms"] if requests is None else ["-n", str(requests)]
    command += ["-m", str(_STREAMS), "-t", "1", "-d", str(body)]
    if rate is not None:
        command += ["--rps", f"{rate / clients:g}"]
    if times is not None:
        command += ["--log-file", str(times)]
    if transport == "grpc":
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        command += [f"http://127.0.0.1:{port}{Signal.TRACES.method}"]
    else:
        command += ["--h1", "-H", "content-type: application/x-protobuf"]
        command += [f"http://127.0.0.1:{port}{Signal.TRACES.path}"]
    began = time.monotonic()
    output = await _run(command, seconds + _STOP_SECONDS)
    took = time.monotonic() - began
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
    failed = re.search(r"(\d+) failed, (\d+) errored", output)
    if codes is None or failed is None:
        raise RuntimeError(f"h2load said nothing of what came of it:\n{output}")
    good, *refused = (int(number) for number in codes.groups())
    milliseconds = [] if times is None else times_in(times)
    return Answered(good, max(sum(refused), int(failed[1])), took, milliseconds)


async def _run(command: list[str], patience: float) -> str:
    """What `command` prints; nothing of it is left afterwards."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(patience):
            output, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{output.decode(errors='replace')}")
    return output.decode(errors="replace")


def times_in(file: Path) -> list[float]:
    """The third column of each row of which the second is 200: microseconds."""
    rows = (line.split("\t") for line in file.read_text().splitlines())
    return sorted(int(row[2]) / 1000 for row in rows if row[1] == "200")
