"""What was logged, as tests ask for it."""

import pytest

__all__ = ["kinds"]


def kinds(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The event and the kind of each line of ours: of those that are alike one is told in a minute."""
    return [(vars(record)["event"], vars(record)["kind"]) for record in caplog.records]
