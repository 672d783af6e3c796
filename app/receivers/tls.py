"""TLS of both receivers, with what its files hold when a client connects.

A context cannot forget an authority that it was told to trust, so a new one is made of new files, and takes a
connection over from the old one in the middle of its handshake, when the client has said hello.
"""

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from cryptography import x509

from app.settings import ServerTlsSettings, Watched
from app.settings.tls import server_context
from app.telemetry.metrics import Metrics

__all__ = ["ServerTls"]


@dataclass(frozen=True, slots=True)
class _Files:
    """What the files held when they were read together."""

    context: ssl.SSLContext
    configuration: grpc.ServerCertificateConfiguration
    expires: float
    """When the certificate ends, in seconds since the Unix epoch."""


class ServerTls:
    """The certificate that is shown now, and the authorities that are trusted now.

    Raises:
        OSError: a file cannot be read at the start.
        ValueError: the files do not fit together, or hold something else, at the start.
    """

    def __init__(
        self, settings: ServerTlsSettings, metrics: Metrics, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        paths = [path for path in (settings.cert_file, settings.key_file, settings.client_ca_file) if path is not None]
        self._files = Watched(
            "server.tls",
            paths,
            self._read,
            monotonic=monotonic,
            reloaded=lambda well: metrics.reloaded("server.tls", well),
        )
        self._lock = threading.Lock()
        """gRPC asks in threads of its own."""
        self.context = self._current().context
        """For HTTP: one context for all times, which hands each connection to the one of the day."""
        self.context.sni_callback = self._hand_over

    @property
    def expires(self) -> float:
        """When the certificate ends, in seconds since the Unix epoch."""
        return self._current().expires

    def credentials(self) -> grpc.ServerCredentials:
        """Return the same for gRPC, which knows no TLS before 1.2."""
        return grpc.dynamic_ssl_server_credentials(
            self._current().configuration,
            lambda: self._current().configuration,
            require_client_authentication=self._settings.client_ca_file is not None,
        )

    def _hand_over(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current().context

    def _current(self) -> _Files:
        with self._lock:
            return self._files.current()

    def _read(self, certificate: bytes, key: bytes, authorities: bytes | None = None) -> _Files:
        context = server_context(self._settings)
        configuration = grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)
        expires = x509.load_pem_x509_certificates(certificate)[0].not_valid_after_utc.timestamp()
        return _Files(context, configuration, expires)
