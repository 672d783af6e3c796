"""What one scrape of the metrics port says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from app.core.request import Signal

__all__ = ["Books", "Scrape"]


@dataclass(frozen=True, slots=True)
class Books:
    """Where the items of one signal are."""

    accepted: int
    recovered: int
    sent: int
    dropped: int
    queued: int
    dead: int

    def balance(self) -> bool:
        """Whether each item that came in is somewhere."""
        return self.accepted + self.recovered == self.sent + self.dropped + self.queued + self.dead


class Scrape(Mapping[tuple[str, tuple[tuple[str, str], ...]], float]):
    """Samples by name and labels; the labels sorted, as pairs."""

    def __init__(self, text: str) -> None:
        self._samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __getitem__(self, key: tuple[str, tuple[tuple[str, str], ...]]) -> float:
        return self._samples[key]

    def __iter__(self) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
        return iter(self._samples)

    def __len__(self) -> int:
        return len(self._samples)

    def total(self, name: str, **labels: str) -> float:
        """The sum over the samples of `name` that bear `labels`, whatever else they bear; 0 if there are none."""
        wanted = set(labels.items())
        return sum(value for (own, pairs), value in self._samples.items() if own == name and wanted <= set(pairs))

    def books(self, signal: Signal) -> Books:
        def count(name: str) -> int:
            return int(self.total(name, signal=signal.value))

        return Books(
            accepted=count("otlp_receiver_accepted_items_total"),
            recovered=count("otlp_queue_recovered_items_total"),
            sent=count("otlp_exporter_sent_items_total"),
            dropped=count("otlp_exporter_dropped_items_total"),
            queued=count("otlp_queue_items"),
            dead=count("otlp_queue_dead_items"),
        )

    def check_law(self) -> None:
        """Assert the law of the service's first promise, for every signal."""
        for signal in Signal:
            books = self.books(signal)
            assert books.balance(), f"{signal.value}: {books}"
