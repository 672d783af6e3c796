"""What scripts/demo --traffic keeps flowing: purchases of a shop, whose traces, metrics and logs belong together."""

import logging
import threading
from collections.abc import Iterable, Mapping

from app.core.request import Signal
from app.send.client import Client
from app.send.options import Options
from app.send.shop import Shop

__all__ = ["Traffic"]

_PAUSE_SECONDS = 1.0
_METRICS_EVERY = 5
"""Pauses; the state of all instruments is read so seldom by applications, too."""


class Traffic:
    """A purchase a second, sent as each signal's `options` say, from entering to leaving; what is refused is lost."""

    def __init__(self, options: Iterable[Options]) -> None:
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())  # what the service says of it is enough
        self._clients: Mapping[Signal, Client] = {each.signal: Client(each) for each in options}
        self._shop = Shop()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._flow, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for client in self._clients.values():
            client.close()

    def _flow(self) -> None:
        pauses = 0
        while not self._stop.wait(_PAUSE_SECONDS):
            pauses += 1
            self._shop.sell()
            memory = self._shop.memory
            spans, records = memory.spans(), memory.log_records()
            self._clients[Signal.TRACES].send(spans, len(spans))
            self._clients[Signal.LOGS].send(records, len(records))
            if pauses % _METRICS_EVERY == 0:
                self._clients[Signal.METRICS].send(memory.metrics(), 1)
