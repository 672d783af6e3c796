"""For any history of a queue and any damage of a page: what can be read is salvaged, and nothing else appears."""

import random
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.request import Signal
from app.queue import LmdbStore
from app.queue.check import faults_of
from app.queue.letters import Notice
from app.queue.mend import mend
from app.queue.pages import PAGE, Pages
from app.queue.record import DamagedRecord, pack, unpack
from app.queue.salvage import salvage
from app.queue.store import Appended, Burial
from tests.support.damage import overwrite, places

MAX_BYTES = 128 << 20
LENGTHS = (1, 60, 700, 1990, 2010, 3000, 5000, 9000)


@dataclass
class History:
    """What was done to a queue: a record's signal and bytes by number."""

    written: dict[int, tuple[Signal, bytes]] = field(default_factory=dict)
    live: set[int] = field(default_factory=set)
    dead: set[int] = field(default_factory=set)


def live_through(directory: Path, seed: int, commits: int) -> History:
    chance, history = random.Random(seed), History()
    favourite = chance.choice(LENGTHS)
    store = LmdbStore(directory, MAX_BYTES)
    store.open()
    for _ in range(commits):
        settled = chance.sample(sorted(history.live), len(history.live) * chance.randrange(4) // 8)
        buried = chance.sample(sorted(history.live - set(settled)), min(3, len(history.live) - len(settled)))
        group = []
        for _ in range(chance.randrange(80)):
            number, signal = len(history.written) + 1, chance.choice(list(Signal))
            body = chance.randbytes(chance.choice((favourite, chance.choice(LENGTHS))))
            history.written[number] = (signal, pack(signal, body, 1 + number % 7, number))
            group.append(number)
        store.commit(
            [Appended(history.written[n][0], n, history.written[n][1]) for n in group],
            [(history.written[n][0], n) for n in settled],
            [Burial(history.written[n][0], n, Notice(n, "invalid", "no")) for n in buried if n not in history.dead],
        )
        history.live = history.live - set(settled) | set(group)
        history.dead = (history.dead | set(buried)) & history.live
    store.close()
    return history


def within(page: int, place: tuple[int, int]) -> bool:
    """Whether some of what is at `place` is in `page`."""
    offset, length = place
    return offset // PAGE <= page <= (offset + length - 1) // PAGE


def damage(directory: Path, page: int, how: str, chance: random.Random) -> None:
    data = (directory / "data.mdb").read_bytes()
    other = chance.randrange(len(data) // PAGE) * PAGE
    at = page * PAGE + chance.randrange(64)
    match how:
        case "zeros":
            overwrite(directory, page * PAGE, bytes(PAGE))
        case "noise":
            overwrite(directory, page * PAGE, chance.randbytes(PAGE))
        case "another page":
            overwrite(directory, page * PAGE, data[other : other + PAGE])
        case _:
            overwrite(directory, at, bytes([data[at] ^ 1 << chance.randrange(8)]))


@dataclass
class Found:
    """What a store hands out: the number of each whole record, and those of the dead letters."""

    records: dict[bytes, int]
    dead: set[int]


def look_into(directory: Path) -> Found:
    found = Found({}, set())
    store = LmdbStore(directory, MAX_BYTES)
    store.open()
    for signal in Signal:
        letters = {letter.sequence for letter in store.dead_letters(signal, 0, 1 << 30)}
        found.dead |= letters
        records = store.read(signal, 0, 1 << 40)[0]
        for number, record in records + [(number, store.dead_record(signal, number) or b"") for number in letters]:
            with suppress(DamagedRecord):
                unpack(signal, memoryview(record))
                assert record not in found.records, "a record is there twice"
                found.records[record] = number
    store.close()
    return found


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    commits=st.integers(1, 12),
    where=st.floats(0, 1, exclude_max=True),
    how=st.sampled_from(["zeros", "noise", "another page", "a bit"]),
)
def test_what_can_be_read_is_salvaged_and_nothing_else_appears(seed: int, commits: int, where: float, how: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        history = live_through(directory, seed, commits)
        assert faults_of(directory) == []
        page = int(where * (directory / "data.mdb").stat().st_size / PAGE)
        at = {number: spot for signal in Signal for number, spot in places(directory, signal.value).items()}
        said = {number: spot for signal in Signal for number, spot in places(directory, f"dead-{signal.value}").items()}
        assert (at.keys(), said.keys()) == (history.live, history.dead)
        damage(directory, page, how, random.Random(seed))

        with Pages(directory / "data.mdb") as pages:
            stale = salvage(pages, directory / "data.mdb.new").stale
        damaged = mend(directory)
        found = look_into(directory)
        assert faults_of(directory) == []

        number_of = {record: number for number, (_, record) in history.written.items()}
        assert found.records.keys() <= number_of.keys(), "what was never written appears"
        kept = {number_of[record] for record in found.records}
        untouched = {number for number, spot in at.items() if not within(page, spot)}
        assert untouched <= kept, f"{untouched - kept} of {len(untouched)} are lost"
        if not (damaged and stale):
            assert kept <= history.live, "what was delivered comes back"
        numbered = {number for record, number in found.records.items() if number_of[record] == number}
        still_dead = {number for number, spot in said.items() if not within(page, spot)} & numbered
        assert still_dead <= found.dead, "a dead letter is alive again"
