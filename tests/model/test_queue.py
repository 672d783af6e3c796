"""The queue as a state machine against a list: any order of what can be done to it, and an end at any system call.

What a crash may show is written down before it happens: each entry has a set of states in one of which it is found by
the next start. It has one, but where something was asked for and not yet said to be safe: what was settled may be
there again, what was buried may be alive again, and a request whose client got no answer may be there or not.

Hypothesis runs 20 histories of each queue; where OTLP_TEST_EXAMPLES is set, as many as it says, and then every call of
a short life is the last one once, in place of each second.
"""

import os
import random
import shutil
import signal as signals
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, Literal

import lmdb
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.core.request import ExportRequest, Signal
from app.queue.letters import EVERYTHING, Selection
from app.queue.record import HEADER_BYTES, unpack
from app.queue.store import PAGE, RESERVE_BYTES, record_cost
from tests.support.damage import set_aside, zero
from tests.support.queue_process import (
    AFTER,
    BEFORE,
    TORN,
    Ended,
    Figures,
    QueueProcesses,
    Storage,
    Taken,
)

KIB = 1 << 10
MIB = 1 << 20
ENTRY_BYTES = 256  # what an entry takes beside its record on disk, and beside its body in memory
TREES = 2 * len(Signal)
MEMORY = Path("/dev/shm")  # noqa: S108 - a kill loses no page that was not synced, so that no disk need be waited for
THOROUGH = "OTLP_TEST_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("OTLP_TEST_EXAMPLES", "20"))

Place = Literal["alive", "dead", "gone"]
State = tuple[Place, "Entry"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A request of a test, which its number tells from all others."""

    number: int
    signal: Signal
    size: int
    cut: bool = False
    """Whether only what was refused of it is left."""

    @property
    def items(self) -> int:
        """A number of items that no other entry has."""
        return 1000 * self.number - self.cut

    @property
    def body(self) -> bytes:
        whole = bytes_of(self.number, self.size)
        return whole[: self.size // 2] if self.cut else whole

    @property
    def request(self) -> ExportRequest:
        return ExportRequest(self.signal, self.body, self.items)


@dataclass(slots=True)
class Held:
    """A lease."""

    number: int
    signal: Signal
    entries: list[Entry]


@lru_cache(maxsize=200)
def bytes_of(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)


def make_directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="queue-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))


def number_of(items: int) -> int:
    return -(-items // 1000)


def cost_of(entry: Entry) -> int:
    """What an entry takes of the room of a queue on disk."""
    return record_cost(HEADER_BYTES + len(entry.body)) + ENTRY_BYTES


sizes = st.one_of(
    st.sampled_from([0, 1, 100, 1980, 2003, 2004, 2030, 2050, 4053, 4070, 4090, 9000, 60_000, 300_000]),
    st.integers(0, 10_000),
)
groups = st.lists(st.tuples(st.sampled_from(Signal), sizes), min_size=1, max_size=8)
chances = st.integers(0, 2**16)


CRASHED: Any = object()
"""In place of an answer: the queue's process has ended, another was started, and the list is what that one found."""


class QueueMachine(RuleBasedStateMachine):
    """What both queues do. `processes` and `directory` are set by the test."""

    processes: QueueProcesses
    done: Counter[str]
    """How often something was done with a lease, over all histories; set by the test, too."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0
        self.waiting: dict[Signal, list[Entry]] = {signal: [] for signal in Signal}
        self.held: list[Held] = []
        self.dead: dict[int, Entry] = {}
        """By sequence number, in their order."""
        self.sequences: dict[int, int] = {}
        """The sequence number of each entry that was told one, by its own."""
        self.places: dict[int, int] = {}
        """Where each entry is in its line. What is replayed goes to the end, and nobody is told its new number."""
        self.numbering = count(1)
        self.unsure: dict[int, set[State]] = {}
        """What a crash might show of an entry beside what it is."""
        self.storage = self.choose(3 * MIB, 2 * MIB)
        self.process = self.processes.start()

    def choose(self, memory_bytes: int, capacity: int) -> Storage:
        raise NotImplementedError

    def teardown(self) -> None:
        self.process.kill()

    @initialize(memory_bytes=st.sampled_from([120, 30_000, 3 * MIB]), capacity=st.sampled_from([256 * KIB, 2 * MIB]))
    def begin(self, memory_bytes: int, capacity: int) -> None:
        self.storage = self.choose(memory_bytes, capacity)
        self.open()

    def open(self) -> None:
        self.process.ask("open", self.storage)

    def ask(self, operation: str, *arguments: object, perhaps: Iterable[State] = ()) -> Any:  # noqa: ARG002 - disk's
        """Ask the queue; `perhaps` are states that entries may be in when it ends before it answers."""
        return self.process.ask(operation, *arguments)

    def maybe(self, state: State) -> None:
        self.unsure.setdefault(state[1].number, set()).add(state)

    # What clients do.

    @rule(group=groups)
    def append(self, group: list[tuple[Signal, int]]) -> None:
        entries = self.make(group)
        before = self.ask("figures")
        if before is CRASHED:
            return
        answers = self.ask(
            "append",
            [entry.request for entry in entries],
            perhaps=[(place, entry) for entry in entries for place in ("alive", "gone")],
        )
        if answers is CRASHED:
            return
        kept = sorted(
            (answer, entry) for answer, entry in zip(answers, entries, strict=True) if isinstance(answer, int)
        )
        assert set(answers) - {answer for answer, _ in kept} <= {"queue_full", "too_large"}
        for answer, entry in zip(answers, entries, strict=True):
            assert (answer == "too_large") == (self.cost(entry) > before.capacity_bytes)
        if "queue_full" in answers:
            assert before.used_bytes + sum(map(self.cost, entries)) > before.capacity_bytes
        for sequence, entry in kept:
            self.sequences[entry.number] = sequence
            self.join(entry)

    def make(self, group: list[tuple[Signal, int]]) -> list[Entry]:
        first = self.numbers + 1
        self.numbers += len(group)
        return [Entry(number, signal, size) for number, (signal, size) in enumerate(group, first)]

    @rule(signal=st.sampled_from(Signal), size=st.just(3 * MIB))
    def append_more_than_there_can_be(self, signal: Signal, size: int) -> None:
        self.append([(signal, size)])

    @rule(number=st.integers(5, 60), size=sizes, signal=st.sampled_from(Signal))
    def fill(self, number: int, size: int, signal: Signal) -> None:
        self.append([(signal, size)] * number)

    # What the dispatcher does.

    @rule(signal=st.sampled_from(Signal), max_bytes=st.sampled_from([1, 3000, 20_000, 3 * MIB]))
    def lease(self, signal: Signal, max_bytes: int) -> None:
        leased = sum(len(entry.body) for held in self.held if held.signal is signal for entry in held.entries)
        crowded = leased > 0 and leased + max_bytes > self.storage.memory_bytes // len(Signal)
        taken = self.ask("lease", signal, max_bytes, crowded)
        if taken is CRASHED:
            return
        waiting = self.waiting[signal]
        if isinstance(taken, str):
            assert waiting
        elif taken is not None:
            count = len(taken.entries)
            held = Held(taken.number, signal, waiting[:count])
            self.compare(taken, held.entries)
            assert count == 1 or sum(len(entry.body) for entry in held.entries) <= max_bytes
            del waiting[:count]
            self.held.append(held)
        else:
            assert not waiting

    def compare(self, taken: Taken, entries: list[Entry]) -> None:
        """What is leased is what waits, in order of arrival."""
        assert taken.entries
        assert [(items, body) for _, items, body in taken.entries] == [(e.items, e.body) for e in entries]
        for (sequence, _, _), entry in zip(taken.entries, entries, strict=True):
            assert self.sequences.setdefault(entry.number, sequence) == sequence
        sequences = [sequence for sequence, _, _ in taken.entries]
        assert sequences == sorted(set(sequences))

    # What a rule is about need not be there; what Hypothesis draws must not depend on when exactly a process ended.

    def pick(self, chance: int) -> Held | None:
        """One of the leases, or one that is taken now; None where a crash prevents that."""
        if not self.held:
            if not any(self.waiting.values()):
                self.append([(tuple(Signal)[chance % len(Signal)], size) for size in (100, 3000, 100)])
            waiting = [signal for signal in Signal if self.waiting[signal]]
            if waiting:
                self.lease(waiting[chance % len(waiting)], 20_000)
        return self.held.pop(chance % len(self.held)) if self.held else None

    @rule(chance=chances, safely=st.booleans())
    def settle(self, chance: int, safely: bool = False) -> None:
        if (held := self.pick(chance)) is None:
            return
        for entry in held.entries:
            self.maybe(("alive", entry))
            self.maybe(("gone", entry))
        if self.ask("settle", held.number) is not CRASHED:
            self.done["settle"] += 1
            if safely:
                self.be_safe()

    def be_safe(self) -> None:
        """Wait until what was asked for cannot be undone by a crash."""

    @rule(chance=chances)
    def release(self, chance: int) -> None:
        if (held := self.pick(chance)) is None:
            return
        self.put_back(held.entries)
        if self.ask("release", held.number) is not CRASHED:
            self.done["release"] += 1

    def put_back(self, entries: list[Entry]) -> None:
        waiting = self.waiting[entries[0].signal]
        waiting += entries
        waiting.sort(key=self.place_of)

    def place_of(self, entry: Entry) -> int:
        """Where it is in the line."""
        return self.places[entry.number]

    def join(self, entry: Entry) -> None:
        """Let it stand at the end of its line."""
        self.waiting[entry.signal].append(entry)
        self.places[entry.number] = next(self.numbering)

    @rule(chance=chances, cut=st.booleans())
    def bury(self, chance: int, cut: bool) -> None:
        if (held := self.pick(chance)) is None:
            return
        cut = cut and len(held.entries) == 1 and not held.entries[0].cut
        for entry in held.entries:
            letter = replace(entry, cut=True) if cut else entry
            self.maybe(("alive", entry))
            self.maybe(("dead", letter))
            self.dead[self.sequences[entry.number]] = letter
        self.dead = dict(sorted(self.dead.items()))
        if self.ask("bury", held.number, replace(held.entries[0], cut=True).request if cut else None) is not CRASHED:
            self.done["bury"] += 1

    @rule(chance=chances)
    def divide(self, chance: int) -> None:
        whole = [held for held in self.held if len(held.entries) > 1]
        if not whole:
            return
        held = whole[chance % len(whole)]
        self.held.remove(held)
        first = 1 + chance % (len(held.entries) - 1)
        groups = (held.entries[:first], held.entries[first:])
        parts = self.ask("divide", held.number, first)
        if parts is CRASHED:
            return
        for part, entries in zip(parts, groups, strict=True):
            self.compare(part, entries)
            self.held.append(Held(part.number, held.signal, entries))

    # What who looks after it does.

    @rule(signal=st.sampled_from([None, *Signal]), some=chances)
    def replay(self, signal: Signal | None, some: int) -> None:
        selection, letters = self.select(signal, some)
        perhaps = [(place, letter) for letter in letters.values() for place in ("dead", "alive")]
        moved = self.ask("replay", selection, perhaps=perhaps)
        if moved is CRASHED:
            return
        assert moved == (len(letters), sum(letter.items for letter in letters.values()), 0)
        for sequence, letter in letters.items():
            del self.dead[sequence]
            del self.sequences[letter.number]
            self.unsure.pop(letter.number, None)
            self.join(letter)

    def select(self, signal: Signal | None, some: int) -> tuple[Selection, dict[int, Entry]]:
        """All dead letters, those of a signal, or some of them."""
        numbers = frozenset(sequence for at, sequence in enumerate(self.dead) if some >> at % 16 & 1)
        selection = EVERYTHING if signal is None and some % 2 else Selection(numbers or None, signal)
        return selection, {
            sequence: letter
            for sequence, letter in self.dead.items()
            if (selection.sequences is None or sequence in selection.sequences)
            and selection.signal in {None, letter.signal}
        }

    @rule(signal=st.sampled_from([None, *Signal]), some=chances)
    def purge(self, signal: Signal | None, some: int) -> None:
        selection, letters = self.select(signal, some)
        perhaps = [(place, letter) for letter in letters.values() for place in ("dead", "gone")]
        moved = self.ask("purge", selection, perhaps=perhaps)
        if moved is CRASHED:
            return
        assert moved == (len(letters), sum(letter.items for letter in letters.values()))
        for sequence, letter in letters.items():
            del self.dead[sequence]
            self.unsure.pop(letter.number, None)

    # What holds at every moment.

    def entries_of(self, signal: Signal) -> Iterator[Entry]:
        yield from self.waiting[signal]
        for held in self.held:
            if held.signal is signal:
                yield from held.entries

    @invariant()
    def items_and_bytes_add_up(self) -> None:
        figures = self.ask("figures")
        if figures is CRASHED:
            return
        for signal in Signal:
            dead = [letter for letter in self.dead.values() if letter.signal is signal]
            assert figures.items[signal] == sum(entry.items for entry in self.entries_of(signal))
            assert figures.waiting[signal] == sum(entry.items for entry in self.waiting[signal])
            assert figures.dead_items[signal] == sum(letter.items for letter in dead)
            assert figures.dead_letters[signal] == len(dead)
        self.bytes_add_up(figures)

    def bytes_add_up(self, figures: Figures) -> None:
        raise NotImplementedError

    def cost(self, entry: Entry) -> int:
        raise NotImplementedError

    @rule()
    def look_at_the_dead(self) -> None:
        letters = self.ask("letters")
        if letters is not CRASHED:
            found = [(letter.sequence, letter.signal, letter.items, letter.body) for letter in letters]
            assert found == [(sequence, e.signal, e.items, e.body) for sequence, e in self.dead.items()]


class MemoryMachine(QueueMachine):
    """The queue in memory: it is gone with its process, so that there is nothing to crash."""

    def choose(self, memory_bytes: int, capacity: int) -> Storage:  # noqa: ARG002 - the disk's
        return Storage(None, capacity, memory_bytes=1 << 62)

    def cost(self, entry: Entry) -> int:
        return len(entry.body) + ENTRY_BYTES

    def bytes_add_up(self, figures: Figures) -> None:
        alive = [entry for signal in Signal for entry in self.entries_of(signal)]
        assert figures.used_bytes == sum(map(self.cost, [*alive, *self.dead.values()])) <= figures.capacity_bytes


class DiskMachine(QueueMachine):
    """The queue on disk, whose process ends when a rule says so, and is started again."""

    def choose(self, memory_bytes: int, capacity: int) -> Storage:
        if not hasattr(self, "directory"):
            self.directory = make_directory()
            self.armed = False
        return Storage(self.directory, RESERVE_BYTES + capacity, memory_bytes)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory)

    def cost(self, entry: Entry) -> int:
        return cost_of(entry)

    def ask(self, operation: str, *arguments: object, perhaps: Iterable[State] = ()) -> Any:
        try:
            return super().ask(operation, *arguments)
        except Ended as end:
            self.check(end)
            for state in perhaps:
                self.maybe(state)
            self.recover()
            return CRASHED

    @rule(calls=st.integers(1, 16), when=st.sampled_from([BEFORE, AFTER, TORN]), part=st.integers(0, 255))
    def crash_soon(self, calls: int, when: int, part: int) -> None:
        self.armed = True
        self.ask("crash_at", str(self.directory), calls, when, part)

    @rule(group=groups)
    def kill_while_it_appends(self, group: list[tuple[Signal, int]]) -> None:
        entries = self.make(group)
        self.process.send("append", [entry.request for entry in entries])
        for entry in entries:
            self.maybe(("alive", entry))
            self.maybe(("gone", entry))
        self.process.kill()
        self.recover()

    @rule(calls=st.integers(1, 12), when=st.sampled_from([BEFORE, AFTER, TORN]), part=st.integers(0, 255))
    def kill_and_crash_at_the_start(self, calls: int, when: int, part: int) -> None:
        self.process.kill()
        self.process = self.processes.start()
        self.armed = True
        self.process.ask("crash_at", str(self.directory), calls, when, part)
        try:
            self.process.ask("open", self.storage)
        except Ended as end:
            self.check(end)
            self.recover()
        else:
            self.survey()

    @rule(anew=st.booleans())
    def close_and_open(self, anew: bool) -> None:
        if self.ask("close") is CRASHED:
            return
        self.unsure.clear()
        if anew:
            self.process.kill()
            self.process = self.processes.start()
            self.armed = False
        if self.ask("open", self.storage) is not CRASHED:
            self.survey()

    @rule()
    def wait_until_all_is_safe(self) -> None:
        if self.ask("committed") is CRASHED:
            return
        self.unsure.clear()
        figures = self.ask("figures")
        if figures is not CRASHED:
            entries = sum(1 for signal in Signal for _ in self.entries_of(signal))
            assert figures.used_bytes == pages_in(self.directory) * PAGE + entries * ENTRY_BYTES

    def be_safe(self) -> None:
        self.wait_until_all_is_safe()

    def bytes_add_up(self, figures: Figures) -> None:
        # A page that is not full yet is counted in whole, and not in advance.
        assert figures.used_bytes <= 1.04 * figures.capacity_bytes + 2 * TREES * PAGE
        assert (self.directory / "data.mdb").stat().st_size <= self.storage.max_bytes

    def check(self, end: Ended) -> None:
        """See that the process did not end by itself."""
        assert (self.armed, end.status) == (True, signals.SIGKILL)

    def recover(self) -> None:
        """Start it again after an end that was not clean."""
        self.process.kill()
        self.process = self.processes.start()
        self.armed = False
        self.process.ask("open", self.storage)
        self.survey()

    def survey(self) -> None:
        """See that the file holds nothing but what it may, and go on with that."""
        in_order: list[int] = []
        states = {number: set(states) for number, states in self.unsure.items()}
        for signal in Signal:
            entries = list(self.entries_of(signal))
            entries.sort(key=self.place_of)
            in_order += [entry.number for entry in entries]
            for entry in entries:
                states.setdefault(entry.number, {("alive", entry)})
        for letter in self.dead.values():
            states.setdefault(letter.number, {("dead", letter)})

        assert not set_aside(self.directory)
        found = find_all(self.directory)
        numbers = [number_of(record.items) for record in found]
        assert len(numbers) == len(set(numbers)), "an entry is there twice"
        assert set(numbers) <= states.keys(), "an entry appears from nowhere"
        for number in states.keys() - set(numbers):
            assert "gone" in {place for place, _ in states[number]}, f"{number} is lost, of {states[number]}"
        self.waiting = {signal: [] for signal in Signal}
        self.dead = {}
        for record, number in zip(found, numbers, strict=True):
            possible = [e for place, e in states[number] if place == record.place and e.items == record.items]
            assert possible, f"{number} is {record.place}, of {states[number]}"
            (entry,) = possible
            assert (entry.signal, entry.body) == (record.signal, record.body)
            if record.place == "dead":
                self.dead[record.sequence] = entry
            else:
                self.join(entry)
            known = self.sequences.setdefault(number, record.sequence)
            if known != record.sequence:  # it was replayed, and whoever asked for it was not told
                assert len(states[number]) > 1
                assert record.sequence > known
                self.sequences[number] = record.sequence
        alive = [entry.number for signal in Signal for entry in self.waiting[signal]]
        assert [n for n in alive if n in in_order] == [n for n in in_order if n in alive], "out of order"
        self.dead = dict(sorted(self.dead.items()))
        self.held.clear()
        self.unsure.clear()


@dataclass(frozen=True, slots=True)
class Found:
    """A record in the file."""

    sequence: int
    signal: Signal
    place: Place
    items: int
    body: bytes


def find_all(directory: Path) -> list[Found]:
    """What the file holds, read without the queue; by signal, then in order."""
    found = []
    with (
        closing(lmdb.open(str(directory), readonly=True, lock=False, max_dbs=8)) as environment,
        environment.begin() as transaction,
    ):
        for signal in Signal:
            tree = environment.open_db(signal.value.encode(), transaction, create=False)
            notices = environment.open_db(f"dead-{signal.value}".encode(), transaction, create=False)
            for key, value in transaction.cursor(tree):
                place: Place = "alive" if transaction.get(key, db=notices) is None else "dead"
                record = unpack(signal, memoryview(value))
                found.append(Found(int.from_bytes(key, "big"), signal, place, record.items, record.body))
    return found


def pages_in(directory: Path) -> int:
    """How many pages the trees of records and of notices take."""
    pages = 0
    with (
        closing(lmdb.open(str(directory), readonly=True, lock=False, max_dbs=8)) as environment,
        environment.begin() as transaction,
    ):
        for signal in Signal:
            for name in (signal.value, f"dead-{signal.value}"):
                stat = transaction.stat(environment.open_db(name.encode(), transaction, create=False))
                pages += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    return pages


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueProcesses]:
    with QueueProcesses(tmp_path_factory.mktemp("processes")) as processes:
        yield processes


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("machine", [MemoryMachine, DiskMachine])
def test_whatever_is_done_to_a_queue_it_holds_what_a_list_would(
    processes: QueueProcesses, machine: type[QueueMachine]
) -> None:
    machine.processes = processes
    machine.done = Counter()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.reuse, Phase.generate],  # processes do not end at exactly the same moment twice
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert sum(machine.done.values()) >= EXAMPLES // 2, machine.done


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("signal", Signal)
def test_what_was_settled_does_not_come_back_once_that_is_safe(processes: QueueProcesses, signal: Signal) -> None:
    DiskMachine.processes = processes
    DiskMachine.done = Counter()
    machine = DiskMachine()
    machine.open()
    machine.append([(signal, 100), (signal, 5000), (signal, 100)])
    machine.lease(signal, 3000)
    machine.settle(0, safely=True)
    assert [entry.size for entry in machine.waiting[signal]] == [5000, 100]
    machine.process.kill()
    machine.recover()
    assert [entry.size for entry in machine.waiting[signal]] == [5000, 100]
    machine.teardown()


def live(machine: DiskMachine) -> None:
    """A little of everything, in an order that is always the same."""
    traces, logs = Signal.TRACES, Signal.LOGS
    machine.append([(traces, 100), (logs, 5000), (traces, 2050)])
    machine.lease(traces, 3 * MIB)
    machine.bury(0, cut=False)
    machine.append([(traces, 9000)])
    machine.lease(logs, 3 * MIB)
    machine.settle(0)
    machine.wait_until_all_is_safe()
    machine.replay(traces, 1)
    machine.lease(traces, 1)
    machine.bury(0, cut=True)
    machine.purge(traces, 1)
    machine.close_and_open(anew=False)
    machine.wait_until_all_is_safe()


@pytest.mark.needs("gcc")
def test_an_end_at_any_call_of_a_life_from_the_first_one_on_leaves_what_it_may(processes: QueueProcesses) -> None:
    DiskMachine.processes = processes
    DiskMachine.done = Counter()
    for calls in count(1, 1 if THOROUGH else 2):
        machine = DiskMachine()
        machine.storage = machine.choose(30_000, 256 * KIB)
        machine.kill_and_crash_at_the_start(calls, (BEFORE, TORN, AFTER)[calls % 3], 100)
        live(machine)
        machine.items_and_bytes_add_up()
        machine.teardown()
        if machine.armed:
            break
    assert calls > 50


@pytest.mark.needs("gcc")
def test_an_end_at_any_call_of_mending_leaves_a_file_that_is_mended_at_the_next_start(
    processes: QueueProcesses,
) -> None:
    """The damaged file keeps its name until all that can be read of it is in the new one."""
    entries = [Entry(number, Signal.TRACES, 3000) for number in range(1, 20)]
    for calls in count(1, 1 if THOROUGH else 4):
        directory = make_directory()
        storage = Storage(directory, RESERVE_BYTES + MIB, memory_bytes=30_000)
        process = processes.start()
        process.ask("open", storage)
        process.ask("append", [entry.request for entry in entries])
        process.kill()
        zero(directory, calls % 2)  # one of the two heads

        process = processes.start()
        process.ask("crash_at", str(directory), calls, (BEFORE, TORN, AFTER)[calls % 3], 100)
        try:
            process.ask("open", storage)
        except Ended:
            mended = False
        else:
            mended = True
        process.kill()
        if not mended:
            process = processes.start()
            process.ask("open", storage)
            process.kill()
        assert [record.items for record in find_all(directory)] == [entry.items for entry in entries]
        assert 1 <= len(set_aside(directory)) <= 2
        shutil.rmtree(directory)
        if mended:
            break
    assert calls > 10
