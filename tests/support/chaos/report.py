"""What came of faults, as tables."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from tests.support.chaos.clients import Seen
from tests.support.chaos.figures import Figures
from tests.support.chaos.laboratory import Trial
from tests.support.chaos.oracle import Verdict

__all__ = ["Row", "tables"]


@dataclass(slots=True)
class Row:
    """A fault, and what came of it each time."""

    fault: str
    trials: list[Trial] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    between: Counter[Seen] = field(default_factory=Counter)
    """What came of requests without a fault."""
    astray: list[str] = field(default_factory=list)
    """What should not have been, and belongs to no trial."""
    raised: list[str] = field(default_factory=list)
    """Where the laboratory could not go on, and why."""

    @property
    def good(self) -> bool:
        return not any(self.wrong())

    def wrong(self) -> Iterator[str]:
        """What should not have been."""
        for text in self.raised:
            yield f"{self.fault}: {text}"
        for text, times in Counter(self.astray).items():
            yield f"{self.fault}: {times} times {text}"
        for trial in self.trials:
            for text in trial.wrong:
                yield f"{' + '.join(trial.faults)}: {text}"
        for verdict in self.verdicts:
            for what, numbers in (
                ("were lost", verdict.lost),
                ("arrived and were never sent", verdict.invented),
                ("arrived not as they were sent", verdict.altered),
            ):
                if numbers:
                    yield f"{self.fault}: {len(numbers)} items {what}: {sorted(numbers)[:20]}"
            for (first, again), items in Counter(verdict.unexplained.values()).items():
                when, then = self._during(first), self._during(again)
                yield f"{self.fault}: {items} items arrived again for no reason: {when}, and {then}"

    def _during(self, at: float) -> str:
        """What was there at a time."""
        for before, trial in pairwise([None, *self.trials]):
            if trial is not None and at <= trial.over:
                what = " + ".join(trial.faults)
                if at >= trial.began:
                    return f"{at - trial.began:.1f} s into {what}"
                after = "" if before is None else f" and after {' + '.join(before.faults)}"
                return f"{trial.began - at:.1f} s before {what}{after}"
        return "in the end"

    def merge(self, other: "Row") -> None:
        """Add what came of the same fault elsewhere."""
        self.trials += other.trials
        self.verdicts += other.verdicts
        self.between += other.between
        self.astray += other.astray
        self.raised += other.raised

    def account(self) -> list[str]:
        """Return the cells of the first table."""
        lost = sum(len(verdict.lost) for verdict in self.verdicts)
        taken = sum(len(verdict.taken) for verdict in self.verdicts)
        repeated = sum((verdict.repeated for verdict in self.verdicts), Counter[str]())
        return [
            self.fault,
            f"{len(self.trials)}, and {len(self.raised)} not to its end" if self.raised else str(len(self.trials)),
            str(sum(verdict.acknowledged for verdict in self.verdicts)),
            str(sum(verdict.delivered for verdict in self.verdicts)),
            str(lost) + (f" (and {taken} that were in destroyed pages)" if taken else ""),
            "; ".join(f"{times}: {reason}" for reason, times in repeated.items()) or "0",
        ]

    def sight(self) -> list[str]:
        """Return the cells of the second table."""
        seen = sum((trial.seen for trial in self.trials), Counter[Seen]())
        endings = Counter(code for trial in self.trials for code in trial.endings)
        seconds = [trial.recovered for trial in self.trials]
        return [
            self.fault,
            _kinds(seen),
            _kinds(self.between),
            ", ".join(f"{code} ({times})" for code, times in sorted(endings.items())) or "none",
            f"{median(seconds):.1f} s, {max(seconds):.1f} s" if seconds else "never",
        ]

    def word(self) -> list[str]:
        """Return the cells of the third table."""
        live, ready = (
            ", ".join(sorted({status for trial in self.trials for status in getattr(trial, probe)}))
            for probe in ("live", "ready")
        )
        notes = sorted({note.split(":")[0].split(" of ")[0] for trial in self.trials for note in trial.notes})
        figures = Figures()
        for trial in self.trials:
            figures.merge(trial.figures)
        return [self.fault, live, ready + (f"; {', '.join(notes)}" if notes else ""), *figures.cells()]


_ACCOUNT = ["fault", "times", "acknowledged", "delivered", "lost", "delivered again, and why"]
_SIGHT = [
    "fault",
    "clients saw",
    "before, between and after",
    "exit codes",
    "well again after: median, most",
]
_WORD = [
    "fault",
    "`/health/live`",
    "`/health/ready`; notes in it",
    "items refused",
    "attempts to export",
    "items that waited, and for how long, at most",
    "and of items",
]
_TOGETHER = ["fault", "times with others", "of these it showed", "with how many different ones"]


def _kinds(seen: Counter[Seen]) -> str:
    return ", ".join(f"{kind} {seen[kind]}" for kind in Seen if seen[kind])


def tables(rows: Sequence[Row]) -> str:
    """Rows in Markdown: what became of items, what clients saw, what the service said, which faults came together."""
    account = _table(_ACCOUNT, [row.account() for row in rows])
    sight = _table(_SIGHT, [row.sight() for row in rows])
    word = _table(_WORD, [row.word() for row in rows])
    together = list(_together(trial for row in rows for trial in row.trials if len(trial.faults) > 1))
    return "\n\n".join([account, sight, word, *([_table(_TOGETHER, together)] if together else [])])


def _together(trials: Iterable[Trial]) -> Iterator[list[str]]:
    """The cells of the fourth table."""
    times, shown, others = Counter[str](), Counter[str](), defaultdict[str, set[str]](set)
    for trial in trials:
        times.update(trial.faults)
        shown.update(trial.shown)
        for fault in trial.faults:
            others[fault] |= set(trial.faults) - {fault}
    for fault in sorted(times):
        yield [fault, str(times[fault]), str(shown[fault]), str(len(others[fault]))]


def _table(heads: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *rows))
