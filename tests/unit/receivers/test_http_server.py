"""What is wrong with an address, and what to do about it."""

import errno

import pytest

from app.receivers.http_server import bind_error


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EADDRINUSE, "server.port: 80 is in use; stop what listens there, or choose another port"),
        (errno.EACCES, "server.port: 80 needs a privilege to listen on; choose a port above 1023"),
        (errno.EADDRNOTAVAIL, "server.port: cannot listen on a.test, port 80: [Errno 99] why; check server.host"),
    ],
)
def test_an_error_names_the_setting_its_value_and_the_remedy(number: int, message: str) -> None:
    assert str(bind_error(OSError(number, "why"), "a.test", 80, "server.port")) == message
