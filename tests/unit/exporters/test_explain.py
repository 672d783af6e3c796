"""What a note in /health/ready says of a destination that hangs up."""

import aiohttp
import pytest

from app.exporters.otlp_http import _explain


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (aiohttp.ServerDisconnectedError(), "it closed the connection without an answer"),
        (
            aiohttp.ClientOSError(None, "Can not write request body for http://127.0.0.1:4318/v1/traces"),
            "it closed the connection while the request was being sent",
        ),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), "[Errno 104] Connection reset by peer"),
        (OSError(), "OSError"),
    ],
)
def test_a_connection_that_broke_is_explained(error: Exception, said: str) -> None:
    assert _explain(error) == said
