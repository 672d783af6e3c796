"""TLS towards the destination."""

import ssl
from pathlib import Path

import grpc

from app.settings import TlsSettings

__all__ = ["channel_credentials", "client_context"]


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """For HTTP: TLS 1.2 or later, with the host's name checked.

    Raises:
        ValueError: a file cannot be read or holds no certificate or key; the message names it.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise ValueError(f"exporter.tls.ca_file: {settings.ca_file} holds no certificates: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert_file is not None:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        except OSError as error:
            raise ValueError(
                f"exporter.tls.cert_file, key_file: {settings.cert_file} and {settings.key_file} "
                f"are no certificate and its key: {error}"
            ) from error
    return context


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
