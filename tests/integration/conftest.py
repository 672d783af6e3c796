"""What tests of the doors share: the end of the chain, the metrics, and a service that is ready."""

import pytest

from app.core.clock import SystemClock
from app.health import Health
from app.telemetry.metrics import Metrics
from tests.support.sink import Sink


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("0")


@pytest.fixture
def health() -> Health:
    health = Health("0", SystemClock())
    health.ready_now()
    return health
