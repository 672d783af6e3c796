"""Whether as many connections as are allowed can be there."""

import resource
from collections.abc import Iterator

import pytest

from app.descriptors import allow_all, doubt


@pytest.fixture
def low_limit() -> Iterator[int]:
    """The hard limit of this process, whose soft limit is lower meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_as_many_are_allowed_as_the_system_ever_allows(low_limit: int) -> None:
    assert allow_all() == low_limit
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == low_limit
    assert allow_all() == low_limit


def test_a_limit_that_connections_may_reach_is_a_doubt() -> None:
    assert doubt(2200, 1000) is None
    said = doubt(1024, 1000)
    assert said == (
        "server.max_connections: 1000 connections of each server may need 2200 open files, "
        "but the system allows 1024; raise that limit (ulimit -Hn), or lower this one"
    )


def test_no_limit_is_no_doubt() -> None:
    assert doubt(resource.RLIM_INFINITY, 1000) is None
