"""A collector that is away costs nothing but disk."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.core.request import Signal
from scripts.outage import complaints, table
from tests.support.backend import Backend
from tests.support.flood import Result
from tests.support.load import Load, identities
from tests.support.memory import own_memory
from tests.support.outage import CONCURRENCY, FULL, Arrival, Drain, Report, displaced, outage
from tests.support.service import SOON, Service

pytestmark = pytest.mark.alone

MIB = 1 << 20
ROOT = Path(__file__).parents[2]


async def test_an_outage_longer_than_memory_loses_nothing_and_keeps_memory_flat(tmp_path: Path) -> None:
    backend = Backend()
    async with backend, AsyncExitStack() as stack:
        settings = {
            "exporter": {"endpoint": backend.http_endpoint, "retry": SOON},
            "queue": {"directory": str(tmp_path / "queue"), "memory_bytes": "6MiB", "max_bytes": "256MiB"},
        }
        service = await stack.enter_async_context(Service(tmp_path, settings))
        load = await stack.enter_async_context(Load(service.http_url, service.grpc_target, spans=100))
        await load.until_acknowledged(20_000)
        running = stack.pop_all()
    async with running:
        await load.until_acknowledged(100_000)
        early = own_memory(service.pid)
        await load.until_acknowledged(300_000)
        late = own_memory(service.pid)
        await load.stop()
        assert late - early < 24 * MIB, f"{early / MIB:.0f} MiB grew to {late / MIB:.0f}"
        books = (await service.law()).books(Signal.TRACES)
        assert books.dropped == 0
        assert books.queued * 200 > 4 * 6 * MIB, "the backlog must not fit in memory for this to mean anything"
        status, body = await service.ask("/health/ready")
        assert status == 200
        assert "export of traces" in body
        async with backend:
            await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
    assert load.acknowledged <= set(identities(request.body for request in backend.taken))


async def test_a_full_queue_is_an_honest_later_and_drains_when_the_collector_is_back(tmp_path: Path) -> None:
    backend = Backend()
    async with backend:
        endpoint = backend.http_endpoint
    settings = {
        "exporter": {"endpoint": endpoint, "retry": SOON},
        "queue": {"directory": str(tmp_path / "queue"), "max_bytes": "36MiB", "wait": "50ms"},
    }
    async with Service(tmp_path, settings) as service:
        async with Load(service.http_url, service.grpc_target, spans=500) as load:
            await load.until_answers("503", 5)
            await load.until_answers("UNAVAILABLE", 5)
            scrape = await service.law()

            async def noted() -> bool:
                status, body = await service.ask("/health/ready")
                assert status == 200, "full is not unready"
                return "clients are told to come back" in body

            await service.until(noted, "the note about the full queue")
            async with backend:
                await load.until_acknowledged(len(load.acknowledged) + 20_000)
                await load.stop()
                await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
        assert (tmp_path / "queue" / "data.mdb").stat().st_size <= 36 * MIB
    assert scrape.total("otlp_receiver_refused_items_total", reason="queue_full") > 0
    assert set(load.answers) == {"200", "OK", "503", "UNAVAILABLE"}
    assert load.acknowledged <= set(identities(request.body for request in backend.taken))


async def test_an_outage_in_which_clients_send_several_times_what_the_queue_holds(tmp_path: Path) -> None:
    """scripts/outage does it with 2 GiB and a bound of 512 MiB."""
    report = await outage(tmp_path, 32 * MIB, 40 * MIB, batch_bytes=64 << 10, filler=3, delay=0.1)
    clients, drain = report.clients, report.drain
    assert clients.sent_bytes > 2.4 * 16 * MIB, "of the 32 MiB, 16 are for records"
    assert clients.answers.keys() == {"200", "OK", "503", "UNAVAILABLE"}
    assert clients.without_hint == 0
    assert {status for _, status, _ in report.health} == {200}, "full is not unready"
    full = [notes(body) for at, _, body in report.health if at < report.back_at][-1]
    assert full["queue"] == FULL
    assert full.keys() == {"queue", *(f"export of {signal.value}" for signal in Signal)}
    assert drain.kept_bytes > 13 * MIB, "of the 16; a request of 14 kB has 16"
    assert max(size for _, size in report.file) <= 32 * MIB
    assert max(size for _, size in report.memory) < 128 * MIB

    assert (report.lost, report.repeated) == (0, 0)
    assert max(report.displaced.values()) <= 2 * CONCURRENCY, "oldest first, but for those that are under way together"
    assert drain.ramps, "one goes first, and each that is taken lets two go"
    assert drain.most_at_once == dict.fromkeys(Signal, CONCURRENCY), "until it goes at full speed"
    assert not report.usual.ramps, "there is no need for it where the destination was there all the while"
    assert report.restarted.ramps, "nor does it know after a restart how the destination is"
    assert report.restarted.most_at_once == dict.fromkeys(Signal, CONCURRENCY)
    assert drain.full_speed > 0.6 * report.usual.full_speed, "the answers take nearly all of the time"


def test_the_script_does_it_with_as_much_as_it_is_told() -> None:
    command = [sys.executable, "-m", "scripts.outage", "--bound", "32", "--sent", "24"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    rows = dict(line[2:-2].split(" | ", 1) for line in ended.stdout.splitlines() if re.match(r"\| \w|\| `", line))
    assert re.match(r"[1-9][\d,]* refusals in \d+ s, 503 and UNAVAILABLE, each with a hint$", rows["from then on"])
    assert rows["sent"] == "24 MiB"
    assert re.match("200 all the while; notes: ", rows["`/health/ready`"])
    assert rows["drained"] == "too soon to tell how fast"
    assert re.match(r"0 of [1-9][\d,]*, 0$", rows["acknowledged requests lost, delivered twice"])


def test_who_was_there_before_another_for_certain_is_out_of_its_turn_behind_it() -> None:
    log = [(0.0, 1.0, "OK", 1), (0.5, 1.0, "OK", 2), (2.0, 0.1, "OK", 3), (3.0, 0.1, "200", 4)]
    assert displaced(log, [[1, 2], [3], [4]]) == 0
    assert displaced(log, [[2], [1], [3], [4]]) == 0, "they were under way together"
    assert displaced(log, [[3], [1], [2, 4]]) == 2, "the second was there when the third was sent"
    assert displaced(log, [[4], [2], [3], [1]]) == 3
    assert displaced(log, [[2, 3, 4]]) == 0, "what never arrived is lost, and not out of its turn"


def test_ten_at_once_are_no_ramp_and_two_for_each_answer_are() -> None:
    def drain(*seen: tuple[int, int]) -> Drain:
        return Drain([Arrival(0.1, Signal.LOGS, in_flight, taken) for in_flight, taken in seen])

    assert drain((1, 0), (1, 1), (2, 1), (4, 3), (10, 4)).ramps
    assert not drain((1, 0), (2, 0)).ramps
    assert not drain(*((number, 0) for number in range(1, 11))).ramps


def well() -> Report:
    """An outage of ten seconds in which all is as it has to be, full after two."""
    full = json.dumps({"notes": {"queue": FULL} | {f"export of {signal.value}": "away" for signal in Signal}})
    steps = [(1, 0), (2, 1), (4, 3), (10, 9)]
    ramp = [Arrival(0.1, signal, number, taken) for signal in Signal for number, taken in steps]
    return Report(
        usual=Drain(full_speed=100.0 * MIB),
        drain=Drain(ramp, full_speed=90.0 * MIB, kept_bytes=13 * MIB),
        restarted=Drain(ramp.copy()),
        acknowledged=900,
        clients=Result(
            seconds=10.0,
            ended_at=110.0,
            sent_bytes=40 * MIB,
            answers={"200": 1, "503": 1},
            log=[(100.0, 1.0, "200", 1), (101.0, 1.0, "503", 2)],
        ),
        health=[(at / 2, 200, full if at > 8 else "{}") for at in range(24)],
        back_at=10.0,
        empty_at=12.0,
        memory=[(at / 10, 80 * MIB) for at in range(120)],
        file=[(1.0, 32 * MIB)],
        displaced=dict.fromkeys(Signal, 9),
    )


def spoilt(how: Callable[[Report], object]) -> list[str]:
    report = well()
    how(report)
    return list(complaints(report, 32 * MIB, 40 * MIB))


def test_an_outage_in_which_all_is_as_it_has_to_be_is_no_complaint() -> None:
    assert spoilt(lambda _: None) == []
    report = well()
    report.clients.without_hint = 2
    order = "of what was acknowledged before another was sent, nothing came more than 9 batches after it"
    assert table(well()).splitlines() == [
        "| | |",
        "| --- | --- |",
        *(
            f"| {what} | {came} |"
            for what, came in {
                "full": "after 2.0 s; the file had 32 MiB, 13 MiB of them bodies",
                "from then on": "1 refusals in 8 s, 503, each with a hint",
                "sent": "40 MiB",
                "`/health/ready`": "200 all the while; notes: `queue`, `export of traces`, `export of metrics`, "
                "`export of logs`",
                "memory when it was full; 95 of 100 samples until the queue was empty; the most": (
                    "80, 80 (+0 %), 80 MiB"
                ),
                "drained": "at 90 % of the usual speed (100 MiB/s) once each signal was back at its full number of "
                "batches; has to be 80 %",
                "under way at the destination for traces, as each batch came": "1 2 4 10 …; then up to 10",
                "the same after a `kill -9` with a full queue, and a start": "1 2 4 10 …; then up to 10",
                "order": f"oldest first for each signal: {order} (20 are allowed: 10 are under way together)",
                "acknowledged requests lost, delivered twice": "0 of 900, 0",
            }.items()
        ),
    ]
    assert "| 1 refusals in 8 s, 503, 2 of them without a hint |" in table(report)


def test_the_docs_have_the_rows_of_the_table() -> None:
    docs = (ROOT / "docs" / "reliability.md").read_text()
    heads = [line.split(" | ")[0] for line in table(well()).splitlines()]
    assert [head for head in heads[2:] if f"\n{head} | " not in docs] == []


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        (lambda report: setattr(report, "lost", 1), "1 requests lost"),
        (lambda report: setattr(report.clients, "sent_bytes", 39 * MIB), "and not 41943040"),
        (lambda report: report.clients.answers.update({"broken": 1}), "clients met broken"),
        (lambda report: setattr(report.clients, "without_hint", 1), "1 refusals did not say when to come back"),
        (lambda report: report.file.append((1.0, 33 * MIB)), "larger than its bound"),
        (lambda report: report.health.append((11.0, 503, "{}")), "/health/ready answered 503"),
        (lambda report: report.health.append((9.0, 200, '{"notes": {}}')), "did not say all the while: full"),
        (lambda report: report.memory.extend([(11.0, 93 * MIB)] * 20), "80 MiB when the queue was full, and 93 MiB"),
        (lambda report: report.displaced.update({Signal.LOGS: 21}), "a batch of logs was 21 places out of its turn"),
        (lambda report: report.drain.arrivals.append(Arrival(0.0, Signal.LOGS, 3, 1)), "more came at once"),
        (lambda report: report.restarted.arrivals.append(Arrival(0.0, Signal.LOGS, 2, 0)), "once after a restart"),
        (lambda report: setattr(report.drain, "full_speed", 79.0 * MIB), "it drained at 79% of the usual speed"),
    ],
)
def test_a_single_thing_that_is_not_as_it_has_to_be_fails_the_script(
    how: Callable[[Report], object], complaint: str
) -> None:
    (found,) = spoilt(how)
    assert complaint in found


def notes(body: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(body)["notes"]
    return found
