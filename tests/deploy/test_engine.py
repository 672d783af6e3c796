"""That the tests of the image are left out is said with its reason, and is no way around a failure."""

from pathlib import Path

import pytest

from tests.support.engine import refusal


def test_an_engine_that_does_not_start_says_why(tmp_path: Path) -> None:
    dockerd = tmp_path / "dockerd"
    dockerd.write_text(
        "#!/bin/sh\necho starting >&2\necho 'failed to mount overlay: operation not permitted' >&2\nexit 1\n"
    )
    dockerd.chmod(0o755)
    assert refusal(str(dockerd)) == "failed to mount overlay: operation not permitted"


@pytest.mark.needs("engine")
def test_an_engine_that_starts_has_nothing_to_say() -> None:
    assert refusal() is None
