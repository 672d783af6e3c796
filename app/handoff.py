"""The last way out of the queue: to siblings, when the service ends and the destination did not take everything.

queue ─▶ handoff ─▶ retry ─▶ timeout ─▶ exporter ─▶ a sibling
"""

from app.core.clock import Clock
from app.core.instance import Instance
from app.core.log import Log
from app.core.request import Signal
from app.exporters import make_exporter
from app.pipeline.handoff import Handoff
from app.pipeline.retry import Retry
from app.pipeline.timeout import Timeout
from app.queue import Queue
from app.settings import AuthSettings, ExporterSettings, RetrySettings
from app.settings.api_keys import first_key
from app.telemetry.metrics import Metrics

__all__ = ["hand_off"]

_log = Log(__name__)
_TIMEOUT = 5.0  # a sibling answers after an fsync; one that does not is gone, and another may be there
_CONCURRENCY = 4  # for each signal; of siblings that are asked by several at once
_SOON = RetrySettings(initial_interval=0.1, max_interval=1)


def siblings(exporter: ExporterSettings, endpoint: str, auth: AuthSettings) -> ExporterSettings:
    """How to send to `endpoint`: as the exporter does, but with a key of our own, which is theirs, for its headers.

    Raises:
        OSError, ValueError: the file of the keys cannot be read.
    """
    key = first_key(auth.api_keys, auth.api_keys_file)
    own: dict[str, object] = {
        "endpoint": endpoint,
        "traces_endpoint": None,
        "metrics_endpoint": None,
        "logs_endpoint": None,
        "protocol": "http/protobuf",
        "headers": {} if key is None else {"x-api-key": key},
        "headers_file": None,
        "timeout": min(_TIMEOUT, exporter.timeout),
        "concurrency": _CONCURRENCY,
        "retry": _SOON,
    }
    return exporter.model_copy(update=own)


async def hand_off(
    queue: Queue,
    endpoint: str,
    exporter: ExporterSettings,
    seconds: float,
    *,
    auth: AuthSettings,
    metrics: Metrics,
    version: str,
    instance: Instance,
    clock: Clock,
) -> int:
    """Send what waits in `queue` to `endpoint`, for at most `seconds`; returns how many items were taken."""
    try:
        settings = siblings(exporter, endpoint, auth)
        async with make_exporter(settings, metrics, version, clock, instance) as way:
            attempt = Timeout(way, settings.timeout)
            destinations = {
                signal: Retry(attempt, settings.retry, clock, f"handoff of {signal.value}") for signal in Signal
            }
            handoff = Handoff(queue, destinations, settings, metrics)
            await handoff.run(seconds)
            return handoff.items
    except (OSError, ValueError) as error:  # a file that went away since the start
        _log.error("handoff_impossible", "nothing is handed off: %(reason)s", reason=str(error))
        return 0
