"""What came of faults, as a table."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import median

from tests.support.chaos.clients import Seen
from tests.support.chaos.laboratory import Trial
from tests.support.chaos.oracle import Verdict

__all__ = ["Row", "table"]


@dataclass(slots=True)
class Row:
    """A fault, and what came of it each time."""

    fault: str
    trials: list[Trial] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return all(verdict.good for verdict in self.verdicts) and not any(trial.wrong for trial in self.trials)

    def wrong(self) -> Iterator[str]:
        """What should not have been."""
        for trial in self.trials:
            for text in trial.wrong:
                yield f"{' + '.join(trial.faults)}: {text}"
        for verdict in self.verdicts:
            for what, numbers in (
                ("lost", verdict.lost),
                ("arrived more than once for no reason", verdict.unexplained),
                ("arrived and were never sent", verdict.invented),
            ):
                if numbers:
                    yield f"{self.fault}: {len(numbers)} items were {what}: {sorted(numbers)[:20]}"

    def merge(self, other: "Row") -> None:
        """Add what came of the same fault elsewhere."""
        self.trials += other.trials
        self.verdicts += other.verdicts

    def cells(self) -> list[str]:
        seen = sum((trial.seen for trial in self.trials), Counter[Seen]())
        endings = Counter(code for trial in self.trials for code in trial.endings)
        ready = sum((trial.ready for trial in self.trials), Counter[str]())
        notes = sorted({note.split(":")[0].split(" of ")[0] for trial in self.trials for note in trial.notes})
        repeated = sum((verdict.repeated for verdict in self.verdicts), Counter[str]())
        taken = sum(len(verdict.taken) for verdict in self.verdicts)
        lost = sum(len(verdict.lost) for verdict in self.verdicts)
        seconds = [trial.recovered for trial in self.trials]
        return [
            self.fault,
            str(len(self.trials)),
            str(sum(verdict.acknowledged for verdict in self.verdicts)),
            str(sum(verdict.delivered for verdict in self.verdicts)),
            str(lost) + (f", and {taken} with their pages" if taken else ""),
            str(repeated.total()) + "".join(f"; {reason}" for reason in repeated),
            ", ".join(f"{kind} {seen[kind]}" for kind in Seen if seen[kind]),
            ", ".join(f"{code} ({times})" for code, times in sorted(endings.items())) or "none",
            "/".join(sorted(status for status in ready)) + (f"; {', '.join(notes)}" if notes else ""),
            f"{median(seconds):.1f}, {max(seconds):.1f}",
        ]


_HEADS = [
    "fault",
    "times",
    "acknowledged",
    "delivered",
    "lost",
    "repeated, why",
    "clients saw",
    "exit codes",
    "`/health/ready`; notes",
    "seconds until well: median, most",
]


def table(rows: Iterable[Row]) -> str:
    """Rows as a table in Markdown."""
    lines = [_HEADS, ["---"] * len(_HEADS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
