"""How it stands between us and where telemetry goes."""

from collections.abc import Mapping, Sequence

from app.console.witness import Witness
from app.core.clock import Clock
from app.core.consumer import Consumer
from app.core.request import Signal
from app.pipeline.retry import Retry, Standing
from app.settings import ExporterSettings
from app.settings.endpoint import mask_url

__all__ = ["Destination"]

_BEFORE = Standing(None, 0, 0.0, 0, 0)


class Destination:
    """Knows where each signal goes, and once there is a chain of stages what goes on in it."""

    def __init__(self, settings: ExporterSettings, clock: Clock) -> None:
        self._clock = clock
        self._retries: Mapping[Signal, Retry] = {}
        self.witness: Witness | None = None
        self.protocol = settings.protocol
        self.by_signal = {
            signal: "the terminal" if settings.protocol == "console" else mask_url(settings.endpoint_for(signal))
            for signal in Signal
        }
        """Without secrets."""
        base = mask_url(settings.own_endpoint(Signal.TRACES) or settings.endpoint)
        together = not any(settings.own_endpoint(signal) for signal in Signal)
        self.places: Sequence[str] = (
            ["the terminal"]
            if settings.protocol == "console"
            else [base]
            if together
            else list(dict.fromkeys(self.by_signal.values()))
        )
        """The same for all signals, each once."""

    def observe(self, attempt: Consumer) -> Witness:
        """Make a stage of `attempt`, which makes an attempt to export, that remembers what became of it."""
        self.witness = Witness(attempt, self._clock)
        return self.witness

    def follow(self, retries: Mapping[Signal, Retry]) -> None:
        """Tell of these from now on."""
        self._retries = retries

    def standings(self) -> dict[Signal, Standing]:
        return {signal: retry.standing() for signal, retry in self._retries.items()} or dict.fromkeys(Signal, _BEFORE)
