"""Which endpoints lead back to this service."""

import socket
from types import TracebackType
from typing import Self

import pytest

from app.settings import MetricsSettings, ServerSettings, Settings
from app.settings.ourselves import own_port

OWN = "192.0.2.7"
OWN_V6 = "2001:db8::7"


class Kernel:
    """A datagram socket of a machine whose addresses are `OWN` and `OWN_V6`, in a network without other IPv6."""

    def __init__(self, family: int, kind: int) -> None:
        assert kind == socket.SOCK_DGRAM, "a connection would be a packet"
        self._own = OWN_V6 if family == socket.AF_INET6 else OWN

    def connect(self, address: tuple[str, int]) -> None:
        if self._own == OWN_V6 and address[0] != OWN_V6:
            raise OSError("network is unreachable")

    def getsockname(self) -> tuple[str, int]:
        return self._own, 40000

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", Kernel)
    monkeypatch.setattr(socket, "gethostname", lambda: "Pod-1")


def own(endpoint: str, host: str = "0.0.0.0") -> str | None:
    return own_port(endpoint, Settings(server=ServerSettings(host=host)))


@pytest.mark.parametrize(
    ("endpoint", "key"),
    [
        ("http://localhost:8080", "server.port"),
        ("http://localhost:8080/v1/traces", "server.port"),
        ("https://user:pass@127.0.0.1:8080", "server.port"),
        ("localhost:4317", "server.grpc_port"),
        ("http://127.0.0.1:9090/metrics", "metrics.port"),
    ],
)
def test_each_of_our_ports_is_known(endpoint: str, key: str) -> None:
    assert own(endpoint) == key


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "any.localhost", "ip6-localhost", "0.0.0.0", "127.0.0.1", "127.8.8.8", "pod-1", OWN],
)
def test_what_listens_at_every_address_is_reached_by_each_name_and_address_of_the_machine(host: str) -> None:
    assert own(f"http://{host}:8080") == "server.port"


@pytest.mark.parametrize("host", ["[::1]", "[::]", f"[{OWN_V6}]", OWN, "127.0.0.1", "[::ffff:127.0.0.1]", "localhost"])
def test_what_listens_on_both_families_is_reached_by_both(host: str) -> None:
    assert own(f"http://{host}:8080", "::") == "server.port"


def test_an_address_that_no_way_leads_to_is_not_ours() -> None:
    assert own("http://[2001:db8::8]:8080", "::") is None


@pytest.mark.parametrize(
    "host", ["collector", "otlp-service", "pod-2", "pod-1.other", "192.0.2.8", "[2001:db8::8]", "[::1]"]
)
def test_another_machine_and_another_family_are_not_ours(host: str) -> None:
    assert own(f"http://{host}:8080") is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("bound", ["localhost", "127.0.0.1", "LOCALHOST"])
def test_what_listens_on_localhost_is_reached_by_it(host: str, bound: str) -> None:
    assert own(f"http://{host}:8080", bound) == "server.port"


@pytest.mark.parametrize("host", ["127.0.0.2", "pod-1", OWN, "[::1]"])
def test_what_listens_on_localhost_leaves_the_port_at_other_addresses_to_others(host: str) -> None:
    assert own(f"http://{host}:8080", "127.0.0.1") is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0", "pod-1", "192.0.2.8"])
def test_what_listens_at_one_address_leaves_the_port_at_others_to_others(host: str) -> None:
    assert own(f"http://{host}:8080", OWN) is None
    assert own(f"http://{OWN}:8080", OWN) == "server.port"


def test_what_listens_at_a_name_is_reached_by_it() -> None:
    assert own("http://gateway.test:8080", "Gateway.test") == "server.port"
    assert own(f"http://{OWN}:8080", "gateway.test") is None


def test_another_port_is_not_ours() -> None:
    assert own("http://localhost:4318") is None
    assert own("http://localhost") is None


def test_a_port_that_is_not_known_yet_is_not_ours() -> None:
    settings = Settings(server=ServerSettings(port=0, grpc_port=0), metrics=MetricsSettings(port=0))
    assert own_port("http://localhost:80", settings) is None
