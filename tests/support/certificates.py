"""Certificates of authorities that live as long as a test."""

import ssl
from pathlib import Path

import trustme

__all__ = ["Certificates"]


class Certificates:
    """Writes PEM files into `directory`: an authority, a server (localhost, 127.0.0.1) and a client that it vouches
    for, and an authority that vouches for nobody.
    """

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        self.other_ca_file = directory / "other-ca.pem"
        trustme.CA().cert_pem.write_to_path(self.other_ca_file)
        server = authority.issue_cert("localhost", "127.0.0.1")
        self.server_cert_file, self.server_key_file = _write(server, directory / "server.pem")
        client = authority.issue_cert("client@example.org")
        self.client_cert_file, self.client_key_file = _write(client, directory / "client.pem")

    def server_context(self, *, mutual: bool) -> ssl.SSLContext:
        """What a server needs; `mutual` makes it ask for the client's certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca_file)
        context.load_cert_chain(self.server_cert_file, self.server_key_file)
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _write(certificate: trustme.LeafCert, path: Path) -> tuple[Path, Path]:
    key = path.with_suffix(".key")
    certificate.private_key_pem.write_to_path(key)
    path.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    return path, key
