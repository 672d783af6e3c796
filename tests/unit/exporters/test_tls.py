"""TLS settings become contexts, or an error that names the file."""

import ssl
from pathlib import Path

import grpc
import pytest

from app.exporters.tls import channel_credentials
from app.settings import TlsSettings
from app.settings.tls import client_context
from tests.support.certificates import Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def test_without_files_the_authorities_of_the_system_are_trusted() -> None:
    context = client_context(TlsSettings())
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert isinstance(channel_credentials(TlsSettings()), grpc.ChannelCredentials)


def test_with_a_file_only_its_authorities_are_trusted(certificates: Certificates) -> None:
    context = client_context(TlsSettings(ca_file=certificates.ca_file))
    assert context.cert_store_stats()["x509_ca"] == 1


def test_a_certificate_and_its_key_may_be_in_one_file(certificates: Certificates, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(certificates.client_key_file.read_bytes() + certificates.client_cert_file.read_bytes())
    settings = TlsSettings(cert_file=both)
    client_context(settings)
    assert isinstance(channel_credentials(settings), grpc.ChannelCredentials)


@pytest.mark.parametrize("make", [client_context, channel_credentials])
class TestMistakes:
    def test_a_missing_file_is_named(self, make: type, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"exporter\.tls\.ca_file: .*nowhere\.pem"):
            make(TlsSettings(ca_file=tmp_path / "nowhere.pem"))

    def test_a_file_without_certificates_is_named(self, make: type, tmp_path: Path) -> None:
        empty = tmp_path / "empty.pem"
        empty.write_text("nothing")
        with pytest.raises(ValueError, match=r"exporter\.tls\.ca_file: .*empty\.pem"):
            make(TlsSettings(ca_file=empty))

    def test_a_key_of_another_certificate_is_named(self, make: type, certificates: Certificates) -> None:
        settings = TlsSettings(cert_file=certificates.client_cert_file, key_file=certificates.server_key_file)
        with pytest.raises(ValueError, match=r"exporter\.tls\.cert_file, key_file: .*client\.pem and .*server\.key"):
            make(settings)
