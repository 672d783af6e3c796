"""What a Service of Kubernetes does: each new connection goes to one of its endpoints, and stays with it."""

from collections import Counter
from types import TracebackType
from typing import Self

from tests.support.relay import Relay
from tests.support.service import Service

__all__ = ["Balancer"]


class Balancer:
    """One address for instances of the service, both transports; like kube-proxy it knows connections, not requests.

    Who is an endpoint is said by `add` and `remove`: readiness and the end of a pod are not noticed here. They take
    turns. A connection lives as long as its two ends want.
    """

    def __init__(self) -> None:
        self._endpoints: list[Service] = []
        self._http = Relay(lambda: self._next("http").port)
        self._grpc = Relay(lambda: self._next("grpc").grpc_port)
        self._turns: Counter[str] = Counter()
        self._led: Counter[tuple[Service, str]] = Counter()

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self._http.port}"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self._grpc.port}"

    @property
    def refused(self) -> int:
        """How many connections met an endpoint that does not listen, or no endpoint at all."""
        return self._http.refused + self._grpc.refused

    def led_to(self, endpoint: Service, transport: str) -> int:
        """How many connections of ``http`` or ``grpc`` went to an endpoint so far."""
        return self._led[endpoint, transport]

    def add(self, endpoint: Service) -> None:
        self._endpoints.append(endpoint)

    def remove(self, endpoint: Service) -> None:
        """Lead no new connection there; those that are there stay."""
        self._endpoints.remove(endpoint)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        await self._grpc.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._grpc.__aexit__(kind, error, trace)
        await self._http.__aexit__(kind, error, trace)

    def _next(self, transport: str) -> Service:
        if not self._endpoints:
            raise ConnectionRefusedError("the Service has no endpoints")
        self._turns[transport] += 1
        endpoint = self._endpoints[self._turns[transport] % len(self._endpoints)]
        self._led[endpoint, transport] += 1
        return endpoint
