"""What was acknowledged survives: kills at any moment, and no answer before its fsync."""

import os
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.lives import unexplained
from tests.support.load import Load, identities
from tests.support.service import SOON, Service
from tests.support.strace import Call, Strace

engines = pytest.mark.parametrize("engine", ["grpcio", "native"])
KILLS = 8
HEAD_BYTES = 120  # LMDB writes so much of one of its two head pages to make a transaction the current one


@engines
async def test_every_acknowledged_span_arrives_though_the_service_is_killed_again_and_again(
    tmp_path: Path, engine: str
) -> None:
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    async with Backend() as backend:
        exporter = {"endpoint": backend.http_endpoint, "retry": SOON}
        service = Service(tmp_path, {"exporter": exporter, "server": {"grpc_engine": engine}})
        async with service, Load(service.http_url, service.grpc_target) as load:
            for _ in range(KILLS):
                target = len(load.acknowledged) + moments.randrange(20, 4000)
                await load.until_acknowledged(target)
                service.kill()
                await service.start()
            await load.until_acknowledged(len(load.acknowledged) + 1000)
            scrape = await service.settled(lambda s: s.books(Signal.TRACES).sent > 0, "something was sent")
            assert scrape.total("otlp_exporter_dropped_items_total") == 0
        # Leaving drained it: exit code 0, and nothing is left.
        arrived = Counter(identities(request.body for request in backend.taken))
        lost = load.acknowledged - arrived.keys()
        assert not lost, f"seed {seed}: {len(lost)} of {len(load.acknowledged)} acknowledged spans were lost"
        assert arrived.keys() <= load.acknowledged | load.unacknowledged
        assert unexplained(backend.taken) == set(), f"seed {seed}: only a kill has something delivered again"
        assert "0 left on disk" in service.log


async def test_a_backlog_survives_a_kill_and_is_counted_as_recovered(tmp_path: Path) -> None:
    backend = Backend()
    async with backend:
        endpoint = backend.http_endpoint
    async with Service(tmp_path, {"exporter": {"endpoint": endpoint, "retry": SOON}}) as service:
        async with Load(service.http_url, service.grpc_target) as load:
            await load.until_acknowledged(5000)
        before = (await service.law()).books(Signal.TRACES)
        service.kill()
        await service.start()
        after = (await service.law()).books(Signal.TRACES)
        assert after.recovered >= before.queued >= len(load.acknowledged)
        async with backend:
            await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
        arrived = Counter(identities(request.body for request in backend.taken))
        assert load.acknowledged <= arrived.keys()
        assert max(arrived.values()) == 1


@pytest.mark.needs("strace")
@pytest.mark.parametrize(("transport", "engine"), [("http", "grpcio"), ("grpc", "grpcio"), ("grpc", "native")])
async def test_no_success_is_written_before_the_fsync_that_covers_it_returned(
    tmp_path: Path, transport: str, engine: str
) -> None:
    async with Backend() as backend:
        settings = {"exporter": {"endpoint": backend.http_endpoint}, "server": {"grpc_engine": engine}}
        service = Service(tmp_path, settings)
        calls = "read,recvmsg,recvfrom,readv,write,writev,sendmsg,sendto,pwrite64,pwritev,fdatasync,fsync"
        async with service:
            strace = Strace(service.pid, calls, tmp_path / "strace.txt")
            with strace:
                http, grpc = (service.http_url, None) if transport == "http" else (None, service.grpc_target)
                async with Load(http, grpc, clients=3) as load:
                    await load.until_acknowledged(2000)
            traced = strace.calls()
            head = next(call for call in traced if call.name == "pwrite64" and call.result == HEAD_BYTES)
            assert open_flags(service.pid, head.descriptor) & os.O_DSYNC, "the head is written through"
        port = service.port if transport == "http" else service.grpc_port
        answers = http_answers(traced, port) if transport == "http" else grpc_answers(traced, port)
        commits = list(commits_of(traced))
        assert len(answers) >= 2000 / 20 - 6  # what strace saw from its request to its answer
        for asked, answered in answers:
            assert any(asked < began and ended < answered for began, ended in commits), (asked, answered)


def open_flags(pid: int, descriptor: int) -> int:
    info = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text()
    return int(re.findall(r"flags:\s+(\d+)", info)[0], 8)


def commits_of(calls: list[Call]) -> list[tuple[int, int]]:
    """From the beginning of each sync of the data to the end of the write of the head, which is synchronous."""
    commits = []
    synced: int | None = None
    for call in calls:
        if not call.file.endswith("data.mdb"):
            continue
        if call.name in {"fdatasync", "fsync"}:
            assert call.result == 0
            synced = call.began
        elif call.name == "pwrite64" and call.result == HEAD_BYTES and synced is not None:
            commits.append((synced, call.ended))
            synced = None
    return commits


def on_port(calls: list[Call], port: int) -> list[Call]:
    return [call for call in calls if re.search(rf"127\.0\.0\.1\]?:{port}->", call.file)]


def http_answers(calls: list[Call], port: int) -> list[tuple[int, int]]:
    """When the last byte of each request was read, and when its success began to be written."""
    answers = []
    read: dict[int, int] = {}
    for call in on_port(calls, port):
        if call.name in {"read", "recvmsg", "recvfrom", "readv"} and call.result > 0:
            read[call.descriptor] = call.ended
        elif call.data.startswith(b"HTTP/1.1 200") and call.descriptor in read:
            answers.append((read.pop(call.descriptor), call.began))
    return answers


def grpc_answers(calls: list[Call], port: int) -> list[tuple[int, int]]:
    """The same for gRPC: the frames that end a stream, from the client and to it."""
    answers = []
    asked: dict[tuple[int, int], int] = {}
    unread: dict[int, bytes] = {}
    for call in on_port(calls, port):
        here = call.descriptor
        if call.result > 0 and call.name in {"read", "recvmsg", "recvfrom", "readv"}:
            ended, unread[here] = ended_streams(unread.get(here, b"") + call.data[: call.result])
            asked |= {(here, stream): call.ended for stream in ended}
        elif call.result > 0:
            ended, _ = ended_streams(call.data)
            answers += [(asked.pop((here, stream)), call.began) for stream in ended if (here, stream) in asked]
    return answers


def ended_streams(data: bytes) -> tuple[list[int], bytes]:
    """The streams that HTTP/2 frames in `data` end (RFC 9113, section 4.1), and the bytes of an unfinished frame."""
    streams = []
    data = data.removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    while len(data) >= 9 and len(data) >= 9 + (length := int.from_bytes(data[:3], "big")):
        kind, flags, stream = data[3], data[4], int.from_bytes(data[5:9], "big")
        if kind in {0, 1} and flags & 1:
            streams.append(stream)
        data = data[9 + length :]
    return streams, data
