"""What a destination refuses for good is not lost, does not hold up the rest, and can be sent again."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.collector import Collector, Otelcol
from tests.support.command import command
from tests.support.exchange import Hang, Http, Received, Success
from tests.support.load import identities, spans_request
from tests.support.patience import PATIENCE
from tests.support.payload import spans
from tests.support.service import Service

otelcol = pytest.mark.needs("otelcol")
protocols = pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
WRONG_ID = b"\x0a\x10\x12\x0e\x12\x0c\x0a\x03abc\x2a\x05wrong"
"""A span with a trace id of three bytes."""
TRACES, METRICS, LOGS = Signal


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend() as backend:
        yield backend


def towards(collector: Collector, protocol: str, **exporter: object) -> dict[str, dict[str, Any]]:
    endpoint = collector.grpc_url if protocol == "grpc" else collector.http_url
    retry = {"initial_interval": "100ms", "max_interval": "1s"}
    return {"exporter": {"endpoint": endpoint, "protocol": protocol, "retry": retry} | exporter}


async def post(service: Service, signal: Signal, *bodies: bytes) -> list[int]:
    """Send requests one after another; the statuses."""
    statuses = []
    async with aiohttp.ClientSession(headers={"content-type": "application/x-protobuf"}) as session:
        for body in bodies:
            async with session.post(service.http_url + signal.path, data=BytesIO(body)) as answer:
                await answer.read()
                statuses.append(answer.status)
    return statuses


def log(text: str) -> bytes:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add().body.string_value = text
    return request.SerializeToString()


# The data is refused.


@otelcol
@protocols
async def test_a_collector_refuses_an_id_of_three_bytes_and_all_else_arrives(
    tmp_path: Path, backend: Backend, protocol: str
) -> None:
    async with Otelcol(tmp_path, backend.http_endpoint) as collector:
        settings = towards(collector, protocol, batch_size=400, batch_timeout="10s")
        async with Service(tmp_path, settings) as service:
            bodies = [spans_request(10 * number, 10) for number in range(1, 40)]
            bodies.insert(17, WRONG_ID)
            bodies.insert(29, WRONG_ID)
            assert set(await post(service, TRACES, *bodies)) == {200}
            await post(service, TRACES, spans_request(400, 10))
            scrape = await service.settled(lambda s: s.books(TRACES).queued == 0, "all is decided")
            books = scrape.books(TRACES)
            assert (books.sent, books.dead, books.dropped) == (400, 2, 0)
            assert scrape.total("otlp_exporter_requests_total", signal="traces") <= 8
            letters = (await command(tmp_path, "queue", "dead", "list", "--json")).json()
            assert [(letter["signal"], letter["items"], letter["reason"]) for letter in letters] == [
                ("traces", 1, "invalid")
            ] * 2
            assert "TraceID" in letters[0]["message"]
            shown = (await command(tmp_path, "queue", "dead", "show", str(letters[0]["sequence"]))).json()
            (span,) = shown["request"]["resourceSpans"][0]["scopeSpans"][0]["spans"]
            assert span == {"traceId": b"abc".hex(), "name": "wrong"}
        await backend.received(lambda b: len(identities(taken.body for taken in b.taken)) >= 400)
    assert sorted(identities(taken.body for taken in backend.taken)) == list(range(10, 410))


@otelcol
@protocols
async def test_a_request_above_what_a_collector_takes_arrives_in_parts(
    tmp_path: Path, backend: Backend, protocol: str
) -> None:
    """30,000 spans are 8 MB; a collector takes 4 MiB over gRPC."""
    async with Otelcol(tmp_path, backend.http_endpoint) as collector:
        async with Service(tmp_path, towards(collector, protocol)) as service:
            assert await post(service, TRACES, spans_request(1, 30_000)) == [200]
            scrape = await service.settled(lambda s: s.books(TRACES).queued == 0, "all is decided")
            assert (scrape.books(TRACES).sent, scrape.books(TRACES).dead) == (30_000, 0)
        await backend.received(lambda b: sum(map(count_spans, b.taken)) >= 30_000, timeout=PATIENCE)
    assert Counter(identities(taken.body for taken in backend.taken)) == Counter(range(1, 30_001))


@otelcol
async def test_a_batch_that_a_collector_finds_too_large_arrives_in_smaller_ones(
    tmp_path: Path, backend: Backend
) -> None:
    async with Otelcol(tmp_path, backend.http_endpoint) as collector:
        settings = towards(collector, "grpc", max_batch_bytes="16MiB", batch_size=100_000, batch_timeout="2s")
        async with Service(tmp_path, settings) as service:
            requests = [spans_request(1, 20_000), *(spans_request(n, 1000) for n in range(20_001, 40_000, 1000))]
            assert set(await post(service, TRACES, *requests)) == {200}
            scrape = await service.settled(lambda s: s.books(TRACES).queued == 0, "all is decided")
            assert (scrape.books(TRACES).sent, scrape.books(TRACES).dead) == (40_000, 0)
            assert scrape.total("otlp_exporter_requests_total", code="RESOURCE_EXHAUSTED") > 0
        await backend.received(lambda b: sum(map(count_spans, b.taken)) >= 40_000, timeout=PATIENCE)
    assert Counter(identities(taken.body for taken in backend.taken)) == Counter(range(1, 40_001))


def count_spans(taken: Received) -> int:
    return len(identities([taken.body]))


@pytest.mark.parametrize("transport", ["http", "grpc"])
async def test_a_client_that_waits_for_delivery_is_told_that_its_data_is_refused(
    tmp_path: Path, backend: Backend, transport: str
) -> None:
    backend.otherwise = lambda received: Http(400, b"no") if b"bad" in received.body else Success()
    settings = {
        "exporter": {"endpoint": backend.http_endpoint, "batch_timeout": "300ms"},
        "queue": {"directory": str(tmp_path / "queue"), "acknowledge": "delivered"},
    }
    async with Service(tmp_path, settings) as service:
        names = ["a", "b", "bad", "c", "d"]
        answers = await asyncio.gather(*(answer_to(service, transport, spans(name=name)) for name in names))
        good, bad = ("200", "400") if transport == "http" else ("OK", "INVALID_ARGUMENT")
        assert answers == [good, good, bad, good, good]
        assert (await service.law()).books(TRACES).dead == 1


async def answer_to(service: Service, transport: str, body: bytes) -> str:
    if transport == "http":
        return str((await post(service, TRACES, body))[0])
    async with grpc.aio.insecure_channel(service.grpc_target) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(TRACES.method)
        try:
            await call(body, timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            return error.code().name
    return "OK"


# We are refused.


@otelcol
@protocols
async def test_a_pipeline_that_a_collector_lacks_holds_its_signal_until_it_is_there(
    tmp_path: Path, backend: Backend, protocol: str
) -> None:
    collector = Otelcol(tmp_path, backend.http_endpoint, [TRACES])
    settings = towards(collector, protocol, batch_size=1, concurrency=1)
    settings["exporter"]["retry"]["max_interval"] = "3s"
    async with Service(tmp_path, settings) as service:
        async with collector:
            assert await post(service, LOGS, log("first")) == [200]
            scrape = await service.settled(lambda s: s.books(LOGS).dead == 1, "the first batch is refused")
            assert scrape.total("otlp_exporter_requests_total", signal="logs", code=refusal(protocol)) == 1
            assert set(await post(service, LOGS, *(log(f"{number}") for number in range(50)))) == {200}
            assert await post(service, TRACES, spans_request(1, 10)) == [200]
            scrape = await service.settled(lambda s: s.books(TRACES).sent == 10, "the others are none the worse")
            assert scrape.books(LOGS).dead < 10, "the backlog stays"
            assert scrape.books(LOGS).queued > 40
            await service.until(lambda: noted(service, "export of logs", "we are refused", "dead letters"), "noted")
            assert "we are refused, whatever we send" in service.log
        collector.configure(Signal)
        async with collector:
            scrape = await service.settled(lambda s: s.books(LOGS).queued == 0, "all is delivered")
            assert scrape.books(LOGS).sent + scrape.books(LOGS).dead == 51
            replayed = (await command(tmp_path, "queue", "dead", "replay", "--signal", "logs", "--json")).json()
            assert replayed["items"] == scrape.books(LOGS).dead
            await service.settled(lambda s: s.books(LOGS).sent == 51, "the dead letters are delivered")
            await backend.received(lambda b: len(b.log_records()) >= 51, timeout=PATIENCE)
    assert sorted(str(record.name) for record in backend.log_records()) == sorted(
        ["first", *(f"{number}" for number in range(50))]
    )


async def noted(service: Service, *words: str) -> bool:
    status, body = await service.ask("/health/ready")
    assert status == 200
    return all(word in body for word in words)


def refusal(protocol: str) -> str:
    return "UNIMPLEMENTED" if protocol == "grpc" else "404"


async def test_a_token_that_was_rotated_costs_a_batch_and_not_the_backlog(tmp_path: Path, backend: Backend) -> None:
    headers = tmp_path / "headers"
    headers.write_text("authorization: Bearer old\n")

    def judge(received: Received) -> Http | Success:
        return Success() if received.headers["authorization"] == "Bearer new" else Http(401)

    backend.otherwise = judge
    retry = {"initial_interval": "100ms", "max_interval": "2s"}
    exporter = {"endpoint": backend.http_endpoint, "headers_file": str(headers), "retry": retry, "batch_size": 1}
    async with Service(tmp_path, {"exporter": exporter}) as service:
        assert await post(service, TRACES, spans_request(1, 10)) == [200]
        await service.settled(lambda s: s.books(TRACES).dead == 10, "the first batch is refused")
        assert set(await post(service, TRACES, *(spans_request(n, 10) for n in range(11, 500, 10)))) == {200}
        headers.write_text("authorization: Bearer new\n")
        scrape = await service.settled(lambda s: s.books(TRACES).queued == 0, "the backlog is delivered")
        assert scrape.books(TRACES).dead <= 20
        assert (await command(tmp_path, "queue", "dead", "replay", "--reason", "not_allowed")).code == 0
        await service.settled(lambda s: s.books(TRACES).sent == 500, "all is delivered")
    assert sorted(identities(taken.body for taken in backend.taken)) == list(range(1, 501))


# Dead letters last.


async def test_dead_letters_survive_a_kill_and_are_counted_as_recovered(tmp_path: Path, backend: Backend) -> None:
    backend.otherwise = lambda received: Http(400) if b"bad" in received.body else Success()
    async with Service(tmp_path, {"exporter": {"endpoint": backend.http_endpoint}}) as service:
        await post(service, TRACES, *(spans(name=name) for name in ("a", "bad", "b", "bad")))
        await service.settled(lambda s: s.books(TRACES).dead == 2, "they are refused")
        await service.until(lambda: listed(tmp_path, 2), "and on the disk")
        service.kill()
        await service.start()
        books = (await service.law()).books(TRACES)
        assert (books.recovered, books.dead, books.queued) == (2, 2, 0)
        backend.otherwise = Success()
        assert (await command(tmp_path, "queue", "dead", "replay", "--all")).code == 0
        scrape = await service.settled(lambda s: s.books(TRACES).sent == 2, "they are delivered")
        assert scrape.books(TRACES).dead == 0
    assert Counter(str(span.name) for span in backend.spans()) == Counter({"bad": 2, "a": 1, "b": 1})


async def listed(directory: Path, number: int) -> bool:
    return len((await command(directory, "queue", "dead", "list", "--json")).json()) == number


async def test_a_kill_amid_the_parts_of_a_request_sends_it_once_more_and_loses_nothing(
    tmp_path: Path, backend: Backend
) -> None:
    backend.script(*[Success()] * 3, Hang())
    settings = {"exporter": {"endpoint": backend.http_endpoint, "max_batch_bytes": "100KiB"}}
    async with Service(tmp_path, settings) as service:
        assert await post(service, TRACES, spans_request(1, 3000)) == [200]
        await backend.received(lambda b: len(b.requests) == 4)
        books = (await service.law()).books(TRACES)
        assert (books.sent, books.queued) == (0, 3000), "it is settled as a whole"
        service.kill()
        await service.start()
        scrape = await service.settled(lambda s: s.books(TRACES).sent == 3000, "it is delivered")
        assert scrape.books(TRACES).recovered == 3000
    assert {*identities(taken.body for taken in backend.taken)} == {*range(1, 3001)}


async def test_a_queue_full_of_dead_letters_refuses_clients_and_can_be_replayed(
    tmp_path: Path, backend: Backend
) -> None:
    backend.otherwise = Http(400)
    retry = {"initial_interval": "100ms", "max_interval": "1s"}
    settings = {
        "exporter": {"endpoint": backend.http_endpoint, "retry": retry, "batch_timeout": "10ms"},
        "queue": {"directory": str(tmp_path / "queue"), "max_bytes": "36MiB", "wait": "50ms"},
    }
    async with Service(tmp_path, settings) as service:
        accepted = 0
        while (await post(service, TRACES, spans_request(accepted + 1, 2000)))[0] == 200:
            accepted += 2000
        scrape = await service.settled(lambda s: s.books(TRACES).queued == 0, "all is decided")
        assert scrape.books(TRACES).dead == accepted
        assert await post(service, TRACES, spans_request(accepted + 1, 2000)) == [503]
        assert (tmp_path / "queue" / "data.mdb").stat().st_size <= 36 << 20
        backend.otherwise = Success()
        replay = await command(tmp_path, "queue", "dead", "replay", "--all")
        assert (replay.code, replay.errors) == (0, "")
        await service.settled(lambda s: s.books(TRACES).sent == accepted, "all is delivered")
        assert await post(service, TRACES, spans_request(accepted + 1, 2000)) == [200]
        assert (tmp_path / "queue" / "data.mdb").stat().st_size <= 36 << 20
    assert sorted(identities(taken.body for taken in backend.taken)) == list(range(1, accepted + 2001))


async def test_a_queue_in_memory_has_dead_letters_too(tmp_path: Path, backend: Backend) -> None:
    backend.otherwise = lambda received: Http(400) if b"bad" in received.body else Success()
    settings = {"exporter": {"endpoint": backend.http_endpoint}, "queue": {"storage": "memory"}}
    async with Service(tmp_path, settings) as service:
        await post(service, TRACES, *(spans(name=name) for name in ("a", "bad", "b")))
        await service.settled(lambda s: s.books(TRACES).dead == 1, "one is refused")
        backend.otherwise = Success()
        assert (await command(tmp_path, "queue", "dead", "replay", "--all")).code == 0
        await service.settled(lambda s: s.books(TRACES).sent == 3, "it is delivered")
    gone = await command(tmp_path, "queue", "status", "--set", "queue.storage=memory")
    assert gone.code == 1
    assert "a queue in memory ends with it" in gone.errors


# The commands, beside a service and on its directory.


async def test_the_same_is_told_and_done_beside_a_service_and_on_its_directory(
    tmp_path: Path, backend: Backend
) -> None:
    backend.otherwise = Http(400, b"never")
    directory = str(tmp_path / "queue")
    async with Service(tmp_path, {"exporter": {"endpoint": backend.http_endpoint}}) as service:
        for signal, body in ((TRACES, spans(3)), (LOGS, log("x")), (TRACES, spans(2)), (TRACES, spans(1))):
            await post(service, signal, body)
        await service.settled(lambda s: s.books(TRACES).dead == 6 and s.books(LOGS).dead == 1, "they are refused")
        await service.until(lambda: listed(tmp_path, 4), "and on the disk")
        beside = await ask_everything(tmp_path)
        held = await command(tmp_path, "queue", "status", "--directory", directory)
        assert held.code == 1
        assert f"is held by another process (pid {service.pid})" in held.errors
        by_url = await command(tmp_path, "queue", "status", "--url", service.admin_url, "--json")
        assert by_url.json()["signals"] == beside["status"]["signals"]
        service.kill()
        # The address of a service that was killed is still there: nothing listens, so the directory is looked into.
        stale = await command(tmp_path, "queue", "status", "--set", f"queue.directory={directory}", "--json")
        assert stale.json()["signals"] == beside["status"]["signals"]
        assert await ask_everything(tmp_path, "--directory", directory) == beside
        await service.start()
        first, second, third, fourth = (letter["sequence"] for letter in beside["list"])
        assert (await command(tmp_path, "queue", "dead", "purge", "--signal", "logs")).code == 1  # without --yes
        assert await listed(tmp_path, 4)
        assert (await command(tmp_path, "queue", "dead", "purge", "--signal", "logs", "--yes", "--json")).json() == {
            "letters": 1,
            "items": 1,
            "left": 0,
        }
        scrape = await service.law()
        assert scrape.total("otlp_exporter_dropped_items_total", signal="logs", reason="purged") == 1
    purge = await command(tmp_path, "queue", "dead", "purge", str(first), "--yes", "--directory", directory)
    assert (purge.code, purge.output) == (0, "1 dead letter with 3 items deleted\n")
    missing = await command(tmp_path, "queue", "dead", "replay", str(first), str(third), "--directory", directory)
    assert (missing.code, missing.errors) == (1, f"otlp-service queue: there is no dead letter {first}\n")
    replay = await command(tmp_path, "queue", "dead", "replay", str(third), "--directory", directory)
    assert (replay.code, replay.output) == (0, "1 dead letter with 2 items moved back to the queue\n")
    status = await command(tmp_path, "queue", "status", "--directory", directory, "--json")
    assert status.json()["signals"]["traces"] == {"queued_items": 2, "dead_items": 1, "dead_letters": 1}
    backend.otherwise = Success()
    async with Service(tmp_path, {"exporter": {"endpoint": backend.http_endpoint}}) as service:
        scrape = await service.settled(lambda s: s.books(TRACES).sent == 2, "what was replayed is delivered")
        assert (scrape.books(TRACES).recovered, scrape.books(TRACES).dead) == (3, 1)
        assert await listed(tmp_path, 1)
        missing = await command(tmp_path, "queue", "dead", "show", str(second))
        assert (missing.code, missing.output) == (1, "")
        assert f"there is no dead letter {second}" in missing.errors
        assert (await command(tmp_path, "queue", "dead", "show", str(fourth))).code == 0


async def ask_everything(directory: Path, *where: str) -> dict[str, Any]:
    """What is told of the queue, without what changes with time."""
    status = (await command(directory, "queue", "status", "--json", *where)).json()
    letters = (await command(directory, "queue", "dead", "list", "--json", *where)).json()
    last = str(letters[-1]["sequence"])
    shown = (await command(directory, "queue", "dead", "show", "--json", last, *where)).json()
    table = await command(directory, "queue", "dead", "list", "--signal", "traces", *where)
    assert table.output.count("traces") == 3 + table.output.count("/v1/traces")
    for letter in [*letters, shown]:
        del letter["age_seconds"]
    return {"status": status, "list": letters, "shown": shown}


async def test_what_cannot_be_undone_is_refused_to_who_comes_by_another_name(tmp_path: Path, backend: Backend) -> None:
    backend.otherwise = Http(400)
    async with Service(tmp_path, {"exporter": {"endpoint": backend.http_endpoint}}) as service:
        await post(service, TRACES, spans())
        await service.settled(lambda s: s.books(TRACES).dead == 1, "it is refused")
        async with aiohttp.ClientSession(service.admin_url) as session:
            everything = {"all": True}
            for headers in ({"host": "evil.example"}, {"host": "otlp-service:9090", "x-forwarded-for": "127.0.0.1"}):
                async with session.post("/queue/dead/purge", json=everything, headers=headers) as answer:
                    assert answer.status == 403
            async with session.post(
                "/queue/dead/purge", data=b'{"all":true}', headers={"content-type": "text/plain"}
            ) as a:
                assert a.status == 422
            assert (await service.law()).books(TRACES).dead == 1
            async with session.post("/queue/dead/purge", json=everything) as answer:
                assert (answer.status, await answer.json()) == (200, {"letters": 1, "items": 1, "left": 0})
