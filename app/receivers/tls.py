"""TLS of both receivers, with what its files hold when a client connects.

A context can forget neither an authority that it was told to trust nor a session that it let begin, so a new one is
made of new files, and each connection begins with the one of the day.
"""

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

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
        self._asks = settings.client_ca_file is not None
        self._metrics = metrics
        self._monotonic = monotonic
        self._files = self._watch(settings)
        self._lock = threading.Lock()
        """gRPC asks in threads of its own."""
        self.context: ssl.SSLContext = _OfTheDay(lambda: self._current().context)
        """For HTTP: one for all times."""

    @property
    def expires(self) -> float:
        """When the certificate ends, in seconds since the Unix epoch."""
        return self._current().expires

    def prepare(self, settings: ServerTlsSettings) -> Callable[[], None]:
        """Read the files of other settings, which ask clients for the same; what is returned puts them in force.

        Raises:
            OSError, ValueError: as at the start.
        """
        files = self._watch(settings)

        def switch() -> None:
            with self._lock:
                self._files = files

        return switch

    def credentials(self) -> grpc.ServerCredentials:
        """Return the same for gRPC, which knows no TLS before 1.2."""
        return grpc.dynamic_ssl_server_credentials(
            self._current().configuration,
            lambda: self._current().configuration,
            require_client_authentication=self._asks,
        )

    def _current(self) -> _Files:
        with self._lock:
            return self._files.current()

    def _watch(self, settings: ServerTlsSettings) -> Watched[_Files]:
        paths = [path for path in (settings.cert_file, settings.key_file, settings.client_ca_file) if path is not None]
        return Watched(
            "server.tls",
            paths,
            partial(_read, settings),
            monotonic=self._monotonic,
            reloaded=lambda well: self._metrics.reloaded("server.tls", well),
        )


def _read(settings: ServerTlsSettings, certificate: bytes, key: bytes, authorities: bytes | None = None) -> _Files:
    context = server_context(settings)
    configuration = grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)
    expires = x509.load_pem_x509_certificates(certificate)[0].not_valid_after_utc.timestamp()
    return _Files(context, configuration, expires)


class _OfTheDay(ssl.SSLContext):
    """Begins each connection with the context that `current` returns then; a context of its own it is only by name."""

    _current: Callable[[], ssl.SSLContext]

    def __new__(cls, current: Callable[[], ssl.SSLContext]) -> Self:
        context = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        context._current = current
        return context

    def __init__(self, _current: Callable[[], ssl.SSLContext]) -> None:
        super().__init__()

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        return self._current().wrap_bio(*arguments, **named)
