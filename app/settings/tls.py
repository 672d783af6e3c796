"""What a TLS section comes to. Both sides speak TLS 1.2 or later."""

import ssl

from app.settings.model import ServerTlsSettings, TlsSettings

__all__ = ["client_context", "server_context"]


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """For HTTP, with the host's name checked.

    Raises:
        ValueError: a file cannot be read or holds no certificate or key; the message names it.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise ValueError(f"exporter.tls.ca_file: {settings.ca_file} holds no certificates: {error}") from error
    _show(context, "exporter.tls", settings)
    return context


def server_context(settings: ServerTlsSettings) -> ssl.SSLContext:
    """For HTTP; with `client_ca_file` a client has to show a certificate.

    No session is resumed that began with another context: its client was vouched for by the authorities of that one.

    Raises:
        ValueError: as `client_context`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    if settings.client_ca_file is not None:
        try:
            context.load_verify_locations(settings.client_ca_file)
        except OSError as error:
            raise ValueError(
                f"server.tls.client_ca_file: {settings.client_ca_file} holds no certificates: {error}"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    _show(context, "server.tls", settings)
    return context


def _show(context: ssl.SSLContext, section: str, settings: TlsSettings | ServerTlsSettings) -> None:
    """Let the context show a certificate, if there is one."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert_file is None:
        return
    try:
        # Never asks at a terminal for the password of a key that has one.
        context.load_cert_chain(settings.cert_file, settings.key_file, password=_no_password)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{section}.cert_file, key_file: {settings.cert_file} and {settings.key_file} "
            f"are no certificate and its key: {error}"
        ) from error


def _no_password() -> str:
    raise ValueError("the key is encrypted; write it without a password")
