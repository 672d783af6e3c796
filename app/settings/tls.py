"""What a TLS section comes to."""

import ssl

from app.settings.model import TlsSettings

__all__ = ["client_context"]


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
