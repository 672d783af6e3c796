"""nginx as an ingress has it: it knows requests, and is told its endpoints by a configuration that it reads again."""

import re
import shutil
import signal
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.service import Service

__all__ = ["Nginx", "find_nginx"]

_CONFIG = """
daemon off;
pid nginx.pid;
error_log error.log;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    log_format upstreams "$server_port $upstream_addr";
    access_log access.log upstreams;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 16m;
    client_body_buffer_size 16m;  # no file for a body: its worker may not be who owns the directory
    upstream http {{ {http} keepalive 16; }}
    upstream grpc {{ {grpc} keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        keepalive_timeout 0;  # or connections of clients are cut when this is read again, with what comes on them
        location / {{
            proxy_pass http://http;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
    server {{
        listen 127.0.0.1:{grpc_port} http2;
        location / {{ grpc_pass grpc://grpc; }}
    }}
}}
"""


def find_nginx() -> str | None:
    return shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


class Nginx(Process):
    """One address for instances of the service, both transports; has what `Balancer` has."""

    def __init__(self, directory: Path) -> None:
        nginx = find_nginx()
        assert nginx is not None, "nginx is not installed"
        self._port, self._grpc_port = free_port(), free_port()
        self._endpoints: list[Service] = []
        self._config = directory / "nginx.conf"
        super().__init__([nginx, "-p", str(directory), "-c", str(self._config)], directory)
        self._configure()

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self._grpc_port}"

    @property
    def refused(self) -> int:
        """How many connections met an endpoint that does not listen, or no endpoint at all."""
        log = (self.directory / "error.log").read_text(errors="replace")
        return len(re.findall(r"Connection refused|no live upstreams", log))

    def led_to(self, endpoint: Service, transport: str) -> int:
        """How many requests of ``http`` or ``grpc`` went to an endpoint so far."""
        port = endpoint.port if transport == "http" else endpoint.grpc_port
        return (self.directory / "access.log").read_text().count(f"127.0.0.1:{port}\n")

    def add(self, endpoint: Service) -> None:
        self._endpoints.append(endpoint)
        self._reload()

    def remove(self, endpoint: Service) -> None:
        self._endpoints.remove(endpoint)
        self._reload()

    async def __aenter__(self) -> Self:
        async def listens() -> bool:
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
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
                await self.terminate()
        finally:
            self.kill()

    def _configure(self) -> None:
        def servers(ports: list[int]) -> str:
            return " ".join(f"server 127.0.0.1:{port};" for port in ports) or "server 127.0.0.1:1 down;"

        self._config.write_text(
            _CONFIG.format(
                http=servers([endpoint.port for endpoint in self._endpoints]),
                grpc=servers([endpoint.grpc_port for endpoint in self._endpoints]),
                port=self._port,
                grpc_port=self._grpc_port,
            )
        )

    def _reload(self) -> None:
        self._configure()
        self.signal(signal.SIGHUP)
