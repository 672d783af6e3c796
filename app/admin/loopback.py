"""Who may do what cannot be undone: whoever is on this machine, or in this pod, or shows an API key.

The other end of the connection decides. What a header says of where a request comes from is not looked at; but a
request that was meant for another name came through a proxy on this machine, or from a page in a browser on it.
"""

import ipaddress
from collections.abc import Awaitable, Callable
from contextlib import suppress

from fastapi import HTTPException
from starlette.requests import Request

from app.core.errors import Unauthenticated
from app.receivers.auth import Doorkeeper

__all__ = ["only_from_here", "only_from_here_or_with_a_key"]


def only_from_here_or_with_a_key(doorkeeper: Doorkeeper) -> Callable[[Request], Awaitable[None]]:
    """Make what refuses a request that comes neither with a key nor from here."""

    async def check(request: Request) -> None:
        shown = request.headers.get("authorization", ""), request.headers.get("x-api-key", "")
        if not doorkeeper.asks or not any(shown):
            await only_from_here(request)
            return
        try:
            doorkeeper.holder(*shown)
        except Unauthenticated as error:
            raise HTTPException(401, str(error), {"www-authenticate": "Bearer"}) from error

    return check


async def only_from_here(request: Request) -> None:
    """Refuse a request that does not come from a loopback address, or was not sent to one.

    What comes from the very address that it was sent to is from here, too: the port may be bound to that one alone.
    """
    peer = "" if request.client is None else request.client.host
    own = (request.scope.get("server") or ("",))[0]
    name = _name(request.headers.get("host", ""))
    if not all(_is_loopback(host) or (own and host == own) for host in (peer, name)):
        raise HTTPException(
            403, "only from the machine or pod itself, or with an API key: run otlp-service queue there"
        )


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return (mapped or address).is_loopback
    return False


def _name(host: str) -> str:
    """The name or address in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
