"""TLS towards the destination."""

import ssl
from pathlib import Path

import grpc

from app.settings import TlsSettings
from app.settings.tls import client_context

__all__ = ["channel_credentials"]


def channel_credentials(settings: TlsSettings) -> grpc.ChannelCredentials:
    """For gRPC, which knows no TLS before 1.2.

    Raises:
        ValueError: as `client_context`.
    """
    client_context(settings)  # gRPC reads the same files without a word about what is wrong in them
    roots = settings.ca_file or ssl.get_default_verify_paths().cafile  # gRPC would take roots of its own
    key = settings.key_file or settings.cert_file  # one file may hold both
    return grpc.ssl_channel_credentials(_read(roots), _read(key), _read(settings.cert_file))


def _read(path: str | Path | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
