"""Whether an endpoint is one of this service's own ports. Nothing is sent, and no name is asked of a resolver."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from app.settings.endpoint import split_endpoint, target
from app.settings.model import Settings

__all__ = ["own_port"]

_Address = IPv4Address | IPv6Address
_LOCALHOST = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_LOCALHOST_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})


def own_port(endpoint: str, settings: Settings) -> str | None:
    """The key of the port that `endpoint` leads to, when it is one that this service will listen on."""
    port = int(target(endpoint).rpartition(":")[2])
    key = next((key for key, own in _ports(settings).items() if own and own == port), None)
    host = (split_endpoint(endpoint).hostname or "").rstrip(".")
    return key if key and _reaches(host, settings.server.host.lower()) else None


def _ports(settings: Settings) -> Mapping[str, int]:
    return {
        "server.port": settings.server.port,
        "server.grpc_port": settings.server.grpc_port,
        "metrics.port": settings.metrics.port,
    }


def _reaches(host: str, bound: str) -> bool:
    """Whether who connects to `host` reaches what listens at `bound`."""
    address, listens = _address(host), _address(bound)
    everywhere = listens is not None and listens.is_unspecified
    if host == bound:
        return True
    if _is_localhost(host) or (address is not None and address.is_unspecified):  # a client takes both for localhost
        return (everywhere or listens in _LOCALHOST or _is_localhost(bound)) and _of_one_family(address, bound)
    if address is None:
        return everywhere and host == socket.gethostname().lower()
    if everywhere:
        return _of_one_family(address, bound) and _is_of_this_machine(address)
    return address == listens or (address in _LOCALHOST and _is_localhost(bound))


def _of_one_family(address: _Address | None, bound: str) -> bool:
    """Whether `bound` takes the family of `address`; on another one, something else may listen."""
    listens = _address(bound)
    return address is None or listens is None or bound == "::" or address.version == listens.version


def _address(host: str) -> _Address | None:
    with suppress(ValueError):
        address = ip_address(host)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return mapped or address
    return None


def _is_localhost(host: str) -> bool:
    return host in _LOCALHOST_NAMES or host.endswith(".localhost")


def _is_of_this_machine(address: _Address) -> bool:
    """The kernel sends what is for one of its own addresses from that very address."""
    if address.is_loopback:
        return True
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))  # any port: connecting a datagram socket sends nothing
        except OSError:
            return False  # it cannot be reached, so we are not there either
        return _address(probe.getsockname()[0]) == address
