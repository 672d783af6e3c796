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

__all__ = ["check", "is_from_here", "is_meant_for_another", "only_from_here_or_with_a_key"]


def only_from_here_or_with_a_key(doorkeeper: Doorkeeper) -> Callable[[Request], Awaitable[None]]:
    """Make what refuses a request that comes neither with a key nor from here."""

    # async, so that it runs on the event loop.
    async def checked(request: Request) -> None:
        check(doorkeeper, request, request.headers.get("authorization", ""), request.headers.get("x-api-key", ""))

    return checked


def check(doorkeeper: Doorkeeper, request: Request, authorization: str, api_key: str) -> None:
    """See whether a request that shows these comes from here, or with a key.

    Raises:
        HTTPException: neither.
    """
    if not doorkeeper.asks or not (authorization or api_key):
        if not is_from_here(request):
            raise HTTPException(
                403, "only from the machine or pod itself, or with an API key: run otlp-service queue there"
            )
        return
    try:
        doorkeeper.holder(authorization, api_key)
    except Unauthenticated as error:
        raise HTTPException(401, str(error), {"www-authenticate": "Bearer"}) from error


def is_from_here(request: Request) -> bool:
    """Whether a request comes from a loopback address, and was sent to one.

    What comes from the very address that it was sent to is from here, too: the port may be bound to that one alone.
    """
    return _is_here(request, _peer(request)) and _is_here(request, _name(request.headers.get("host", "")))


def is_meant_for_another(request: Request) -> bool:
    """Whether a request comes from this machine under a name that is not its own, as a page of another site may."""
    return _is_here(request, _peer(request)) and not _is_here(request, _name(request.headers.get("host", "")))


def _is_here(request: Request, host: str) -> bool:
    own = (request.scope.get("server") or ("",))[0]
    return _is_loopback(host) or bool(own and host == own)


def _peer(request: Request) -> str:
    return "" if request.client is None else request.client.host


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
