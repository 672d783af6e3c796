"""A destination's address: what may be written, what it means, and how to show it."""

import re
from urllib.parse import SplitResult, urlsplit

__all__ = ["endpoint_problem", "mask_url", "split_endpoint", "target"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"([^/]*@)?([\w.-]*|\[[0-9A-Fa-f:.]*\])(:\d*)?")
_HOST = re.compile(r"[\w.-]+|[0-9A-Fa-f:.]+")


def split_endpoint(endpoint: str) -> SplitResult:
    """The parts of a URL; a bare ``host:port`` is taken as http://, which is without TLS.

    Raises:
        ValueError: not a URL at all.
    """
    return urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")


def target(endpoint: str) -> str:
    """What a gRPC channel dials: ``host:port``, brackets around an IPv6 address."""
    url = split_endpoint(endpoint)
    host = url.hostname or ""
    port = url.port or _DEFAULT_PORTS[url.scheme]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def mask_url(endpoint: str) -> str:
    """The endpoint without what may be secret: its password and its query."""
    scheme, slashes, rest = endpoint.partition("://") if "://" in endpoint else ("", "", endpoint)
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    # A password with a slash in it makes the URL invalid, and is to be hidden all the same.
    credentials, at, _ = (authority if _AUTHORITY.fullmatch(authority) else rest).rpartition("@")
    user, colon, _ = credentials.partition(":")
    place, question, _ = rest[len(credentials + at) :].partition("?")
    shown = (f"{user}:****@" if colon else "****@") if at else ""
    return f"{scheme}{slashes}{shown}{place}{question and '?****'}"


def endpoint_problem(endpoint: str, *, grpc: bool, base: bool) -> str | None:
    """What is wrong with an endpoint and what to write instead, or None.

    Args:
        endpoint: as it was written.
        grpc: it is spoken to by gRPC, which asks for a host and a port only.
        base: paths are appended to it.
    """
    example = "http://localhost:4317" if grpc else "http://localhost:4318"
    if re.search(r"[\s\x00-\x1f]", endpoint):
        return f"holds a space or a control character; write it as {example}"
    if "://" not in endpoint and not grpc:
        return f"has no scheme; write it as {example} or https://…"
    try:
        url = split_endpoint(endpoint)
    except ValueError:
        return f"is not a URL; write it as {example}"
    if url.scheme not in _DEFAULT_PORTS:
        return f"has the scheme {url.scheme!r}; write http:// or https://"
    if not _HOST.fullmatch(url.hostname or ""):
        return f"has no valid host; write it as {example}"
    return _port_problem(endpoint, url, example) or _excess(url, grpc=grpc, base=base)


def _port_problem(endpoint: str, url: SplitResult, example: str) -> str | None:
    try:
        port = url.port
    except ValueError:
        port = 0
    if port == 0:
        return f"has no valid port; write the one that the destination listens on, as in {example}"
    if port is None and "://" not in endpoint:
        return f"has neither a scheme nor a port; write it as {example}"
    return None


def _excess(url: SplitResult, *, grpc: bool, base: bool) -> str | None:
    if url.fragment:
        return "has a fragment; leave out what follows #"
    if url.query and (base or grpc):
        return "has a query; leave out what follows ?"
    if grpc and url.username is not None:
        return "has credentials, which gRPC takes from no URL; give an authorization header in exporter.headers"
    return None
