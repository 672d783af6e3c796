"""All that was measured in one run, as a file, and what follows from it."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from tests.support.bench.compare import SIZES, Cell, Standing
from tests.support.bench.gateways import DISK, MEMORY, NATIVE, PEERS
from tests.support.bench.growth import Depth, Outage, Point
from tests.support.bench.json_door import JsonDoor
from tests.support.bench.latency import Latency

__all__ = ["GOALS", "Goal", "Results", "columns"]

_ROTEL, _, _COLLECTOR_DISK = (peer.name for peer in PEERS)


@dataclass(frozen=True, slots=True)
class Goal:
    """At least how many times the spans of another gateway one is to bring there for a second of processor time."""

    gateway: str
    peer: str
    least: dict[tuple[str, int], float]
    """By transport and spans a request."""


GOALS = (
    Goal(
        MEMORY.name,
        _ROTEL,
        {("http", 512): 3.5, ("http", 100): 2.6, ("http", 1): 0.5, ("grpc", 512): 2.0, ("grpc", 100): 1.0},
    ),
    Goal(
        DISK.name,
        _ROTEL,
        {("http", 512): 2.5, ("http", 100): 1.4, ("http", 1): 0.18, ("grpc", 512): 1.6, ("grpc", 100): 0.8},
    ),
    Goal(
        DISK.name,
        _COLLECTOR_DISK,
        {
            ("http", 512): 8.0,
            ("http", 100): 6.0,
            ("http", 1): 7.0,
            ("grpc", 512): 6.0,
            ("grpc", 100): 4.0,
            ("grpc", 1): 2.0,
        },
    ),
    Goal(NATIVE.name, _ROTEL, {("grpc", 512): 2.8, ("grpc", 100): 1.8, ("grpc", 1): 0.35}),
)


@dataclass(slots=True)
class Results:
    """What one run of scripts/bench found; a part that was left out is empty."""

    machine: dict[str, str] = field(default_factory=dict)
    """What it ran on and with, by name."""
    command: str = ""
    left_out: list[str] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    standing: list[Standing] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    sizes: list[Point] = field(default_factory=list)
    clients: list[Point] = field(default_factory=list)
    depths: list[Depth] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    json: list[JsonDoor] = field(default_factory=list)

    def gateways(self) -> list[str]:
        """The names of those that were compared."""
        return list(dict.fromkeys(cell.gateway for cell in self.cells))

    def speed(self, gateway: str, transport: str, spans: int) -> float | None:
        """The median over the rounds of the spans a second of processor time; None where it was not measured.

        A round in which it got stuck does not count, unless it always did.
        """
        cells = self._of(gateway, transport, spans)
        whole = [cell for cell in cells if not cell.lost] or cells
        return median(cell.spans_per_cpu_second for cell in whole) if whole else None

    def ratio(self, gateway: str, peer: str, transport: str, spans: int) -> float | None:
        """The median over the rounds of the ratio within a round; None where there is no round to compare.

        That is one in which the peer did not get stuck.
        """
        pairs = zip(self._of(gateway, transport, spans), self._of(peer, transport, spans), strict=False)
        ratios = [mine.spans_per_cpu_second / other.spans_per_cpu_second for mine, other in pairs if not other.lost]
        return median(ratios) if ratios else None

    def memory(self, gateway: str) -> int:
        """The most bytes that a gateway had to itself while it was compared."""
        return max(cell.memory_bytes for cell in self.cells if cell.gateway == gateway)

    def complaints(self) -> Iterator[str]:
        """What should not have happened, in sentences."""
        for cell in self.cells:
            where = f"{cell.gateway}, {cell.transport}, {cell.spans} spans a request"
            if cell.stuck:
                yield f"{where}: nothing arrived"
            elif cell.lost:
                yield f"{where}: of {cell.requests * cell.spans} spans {cell.lost} did not arrive"

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Results":
        """What `to_json` wrote."""
        found: dict[str, Any] = json.loads(text)
        kinds: dict[str, type] = {
            "cells": Cell,
            "standing": Standing,
            "latencies": Latency,
            "sizes": Point,
            "clients": Point,
            "depths": Depth,
            "outages": Outage,
            "json": JsonDoor,
        }
        for name, kind in kinds.items():
            found[name] = [kind(**row) for row in found[name]]
        return cls(**found)

    def _of(self, gateway: str, transport: str, spans: int) -> list[Cell]:
        return [
            cell for cell in self.cells if (cell.gateway, cell.transport, cell.spans) == (gateway, transport, spans)
        ]


def columns() -> list[tuple[str, int]]:
    """Transport and spans a request, in the order of the tables."""
    return [(transport, spans) for transport in ("http", "grpc") for spans in SIZES]
