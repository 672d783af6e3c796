"""A destination's address: what may be written, what it means, how it is shown."""

import pytest

from app.settings.endpoint import endpoint_problem, mask_url, target


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://localhost:4318",
        "https://collector.example",
        "http://collector:4318/",
        "http://collector/base/",
        "HTTP://[::1]:4318",
        "http://user:pass@collector:4318",
        "http://otel_collector:4318",
    ],
)
def test_a_base_url_is_fine_for_http(endpoint: str) -> None:
    assert endpoint_problem(endpoint, grpc=False, base=True) is None


def test_the_endpoint_of_one_signal_may_have_a_query() -> None:
    assert endpoint_problem("http://collector/v1/traces?key=1", grpc=False, base=False) is None


@pytest.mark.parametrize("endpoint", ["collector:4317", "[::1]:4317", "http://collector", "https://collector:443/"])
def test_a_host_and_port_are_enough_for_grpc(endpoint: str) -> None:
    assert endpoint_problem(endpoint, grpc=True, base=True) is None


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("localhost:4318", "has no scheme; write it as http://localhost:4318 or https://…"),
        ("", "has no scheme"),
        ("ftp://collector", "has the scheme 'ftp'; write http:// or https://"),
        ("http://", "has no valid host"),
        ("http:///v1", "has no valid host"),
        ("http://${HOST}:4318", "has no valid host"),
        ("http://[::1:4318", "is not a URL"),
        ("http://collector:port", "has no valid port"),
        ("http://collector:99999", "has no valid port"),
        ("http://collector:0", "has no valid port"),
        ("http://collector\n:4318", "holds a space or a control character"),
        ("http://collector /", "holds a space or a control character"),
        ("http://collector/#top", "has a fragment; leave out what follows #"),
        ("http://collector/?key=1", "has a query; leave out what follows ?"),
    ],
)
def test_what_is_no_base_url_is_told_with_what_to_write(endpoint: str, problem: str) -> None:
    assert problem in (endpoint_problem(endpoint, grpc=False, base=True) or "")


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("collector", "has neither a scheme nor a port; write it as http://localhost:4317"),
        ("dns:///collector:4317", "has the scheme 'dns'"),
        ("http://user:pass@collector:4317", "give an authorization header in exporter.headers"),
        ("http://collector:4317/?a=b", "has a query"),
    ],
)
def test_what_grpc_cannot_dial_is_told(endpoint: str, problem: str) -> None:
    assert problem in (endpoint_problem(endpoint, grpc=True, base=False) or "")


@pytest.mark.parametrize(
    ("endpoint", "dialled"),
    [
        ("http://collector:4317", "collector:4317"),
        ("collector:4317", "collector:4317"),
        ("https://collector", "collector:443"),
        ("http://collector", "collector:80"),
        ("http://[::1]:4317/", "[::1]:4317"),
    ],
)
def test_grpc_dials_a_host_and_a_port(endpoint: str, dialled: str) -> None:
    assert target(endpoint) == dialled


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("http://collector:4318/base", "http://collector:4318/base"),
        ("http://user:hush@collector:4318/", "http://user:****@collector:4318/"),
        ("http://hush@collector", "http://****@collector"),
        ("user:hush@collector:4317", "user:****@collector:4317"),
        ("http://user:hu@sh@collector", "http://user:****@collector"),
        ("http://user:hu/sh@collector/x", "http://user:****@collector/x"),
        ("http://user:hu?sh@collector/x", "http://user:****@collector/x"),
        ("http://collector/v1/traces?key=hush", "http://collector/v1/traces?****"),
        ("http://[::1]:4318/a@b", "http://[::1]:4318/a@b"),
    ],
)
def test_a_url_is_shown_without_its_secrets(endpoint: str, shown: str) -> None:
    assert mask_url(endpoint) == shown
