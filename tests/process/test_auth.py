"""API keys as an operator meets them: from a secret that is rotated, and never shown."""

import asyncio
import subprocess
from pathlib import Path

import aiohttp
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.load import identities, spans_request
from tests.support.process import until
from tests.support.sdk import finished_span
from tests.support.service import COMMAND, SOON, Service

OLD, NEW = "hush-of-the-old-days", "hush-of-the-new-days"


async def sent(exporter: SpanExporter) -> SpanExportResult:
    """What a real SDK's exporter says of one span."""
    try:
        return await asyncio.to_thread(exporter.export, [finished_span()])
    finally:
        await asyncio.to_thread(exporter.shutdown)


async def test_a_key_is_rotated_under_real_clients_and_no_key_is_ever_shown(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"web:{OLD}\n")
    async with Backend() as backend:
        service = Service(
            tmp_path,
            {
                "auth": {"api_keys_file": str(keys), "api_keys": ["app:hush"]},
                "exporter": {"endpoint": backend.http_endpoint},
            },
        )
        async with service:
            traces = service.http_url + Signal.TRACES.path

            async def taken(key: str) -> list[bool]:
                http = HttpExporter(endpoint=traces, headers={"x-api-key": key})
                grpc = GrpcExporter(service.grpc_target, insecure=True, headers={"authorization": f"Bearer {key}"})
                return [await sent(exporter) is SpanExportResult.SUCCESS for exporter in (http, grpc)]

            assert await taken(OLD) == [True, True]
            assert await taken(NEW) == [False, False]
            new = tmp_path / "next"
            new.write_text(f"web:{NEW}\n")
            new.replace(keys)

            async def rotated() -> bool:
                return await taken(NEW) == [True, True]

            await until(rotated, "the new key is in force")
            assert await taken(OLD) == [False, False]
            assert await taken("hush") == [True, True]
            keys.unlink()
            assert await taken(NEW) == [True, True]

            scrape = await service.law()
            assert scrape.total("otlp_auth_items_total", key="app") == 2
            assert scrape.total("otlp_config_reloads_total", file="auth.api_keys_file", outcome="success") == 1
            _, text = await service.ask("/metrics")
            shown = subprocess.run(  # noqa: ASYNC221 - it is short
                (*COMMAND, "config", "show"), env=service.environment, capture_output=True, text=True, check=True
            ).stdout
            assert '"app:****"' in shown
            for output in (text, shown, service.log):
                assert "hush" not in output


async def test_siblings_that_ask_for_a_key_are_handed_what_is_left(tmp_path: Path) -> None:
    backend = Backend()
    async with backend:
        pass  # it is away
    services = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        exporter = {"endpoint": backend.http_endpoint, "retry": SOON}
        services.append(Service(tmp_path / name, {"exporter": exporter, "auth": {"api_keys": ["web:hush"]}}))
    leaving, staying = services
    leaving.configure({"shutdown": {"handoff": staying.http_url}})
    async with staying:
        async with leaving, aiohttp.ClientSession() as client:
            headers = {"content-type": "application/x-protobuf", "x-api-key": "hush"}
            async with client.post(
                leaving.http_url + "/v1/traces", data=spans_request(1, 20), headers=headers
            ) as reply:
                assert reply.status == 200
        assert "20 handed off" in leaving.log
        async with backend:
            await staying.settled(lambda scrape: scrape.books(Signal.TRACES).queued == 0, "all is delivered")
    assert set(identities(request.body for request in backend.taken)) == set(range(1, 21))
