"""A service with mutual TLS, as its users have it."""

import asyncio
import json
import time
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from tests.support.backend import Backend
from tests.support.certificates import Certificates
from tests.support.patience import PATIENCE
from tests.support.sdk import finished_span
from tests.support.service import COMMAND, Service


async def run(service: Service, *arguments: str) -> tuple[int | None, str]:
    """The exit code of another command of the same installation, and what it prints."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, env=service.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_sdks_send_probes_are_answered_and_the_certificate_tells_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they go over what an SDK was told to trust
        monkeypatch.delenv(name, raising=False)
    certificates = Certificates(tmp_path)
    files = {
        "cert_file": str(certificates.server_cert_file),
        "key_file": str(certificates.server_key_file),
        "client_ca_file": str(certificates.ca_file),
    }
    ca, cert, key = certificates.ca_file, certificates.client_cert_file, certificates.client_key_file
    async with Backend() as backend:
        settings = {"server": {"host": "127.0.0.1", "tls": files}, "exporter": {"endpoint": backend.http_endpoint}}
        async with Service(tmp_path, settings) as service:
            url = f"https://localhost:{service.port}/v1/traces"
            http = HttpExporter(
                endpoint=url, certificate_file=str(ca), client_certificate_file=str(cert), client_key_file=str(key)
            )
            credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key.read_bytes(), cert.read_bytes())
            over_grpc = GrpcExporter(f"localhost:{service.grpc_port}", credentials=credentials)
            for exporter in (http, over_grpc):
                assert await asyncio.to_thread(exporter.export, [finished_span()]) is SpanExportResult.SUCCESS
                await asyncio.to_thread(exporter.shutdown)

            assert await run(service, "health") == (0, f"ready: 127.0.0.1:{service.admin_port}\n")
            shown = ("--ca-file", str(ca), "--cert-file", str(cert), "--key-file", str(key))
            for protocol, port in (("http/protobuf", service.port), ("grpc", service.grpc_port)):
                where = ("--endpoint", f"https://localhost:{port}", "--protocol", protocol)
                code, output = await run(service, "send", *where, *shown)
                assert code == 0, output
            scrape = await service.law()
            assert scrape.total("otlp_receiver_requests_total", code="200") == 2
            assert scrape.total("otlp_receiver_requests_total", code="OK") == 2
            ends = scrape.total("otlp_tls_certificate_expiry_timestamp_seconds", file="server.tls.cert_file")
            assert ends > time.time()


async def test_handshakes_that_fail_are_not_in_the_log(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    files = {"cert_file": str(certificates.server_cert_file), "key_file": str(certificates.server_key_file)}
    service = Service(tmp_path, {"exporter": {"protocol": "console"}})
    service.configure({"server": service.settings["server"] | {"tls": files}})
    async with service:
        for number in (service.port, service.grpc_port):
            for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(99)):
                reader, writer = await asyncio.open_connection("127.0.0.1", number)
                writer.write(data)
                async with asyncio.timeout(PATIENCE):
                    with suppress(ConnectionError):
                        await reader.read()
                writer.close()
    lines = [json.loads(line) for line in service.log.splitlines()]  # what gRPC says by itself is no JSON
    assert {line["level"] for line in lines if "exception" in line or line["logger"] == "asyncio"} == set()
