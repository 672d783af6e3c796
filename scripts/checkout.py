"""A small trace as a shop would send it: four services over both transports, an error, a retry, events, a link."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, StatusCode, set_span_in_context
from opentelemetry.util.types import AttributeValue

__all__ = ["SPANS", "send"]

SPANS = (
    "POST /checkout",
    "Checkout/PlaceOrder",
    "SELECT stock",
    "Payment/Charge",
    "POST card.example/charges",
    "Payment/Charge again",
    "POST card.example/charges again",
    "INSERT order",
    "orders publish",
    "orders process",
)
"""The names of the spans that `send` sends."""

_MS = 1_000_000


class PaymentTimeoutError(Exception):
    """The payment provider did not answer in time."""


class Shop:
    """Four instrumented services that live as long as one purchase."""

    def __init__(self, grpc_target: str, http_url: str) -> None:
        self._start_ns = time.time_ns() - 900 * _MS
        grpc, http = f"http://{grpc_target}", f"{http_url}/v1/traces"
        self._providers = {
            "web": _provider("web", "2.4.1", HttpExporter(http)),
            "checkout": _provider("checkout", "1.9.0", GrpcExporter(grpc)),
            "payment": _provider("payment", "1.3.2", GrpcExporter(grpc)),
            "mailer": _provider("mailer", "0.8.0", HttpExporter(http)),
        }

    def at(self, ms: int) -> int:
        """The time `ms` milliseconds into the purchase, in nanoseconds since the epoch."""
        return self._start_ns + ms * _MS

    @contextmanager
    def span(
        self,
        service: str,
        name: str,
        ms: tuple[int, int],
        attributes: Mapping[str, AttributeValue],
        *,
        kind: SpanKind,
        parent: Span | None = None,
        links: list[Link] | None = None,
    ) -> Iterator[Span]:
        """A span of `service` from and to these milliseconds of the purchase."""
        span = (
            self._providers[service]
            .get_tracer("demo.instrumentation", "1.0")
            .start_span(
                name,
                context=set_span_in_context(parent) if parent else None,
                kind=kind,
                attributes=attributes,
                links=links,
                start_time=self.at(ms[0]),
            )
        )
        assert isinstance(span, Span)  # noqa: S101 - nothing samples here
        yield span
        span.end(self.at(ms[1]))

    def close(self) -> None:
        """Send what is left."""
        for provider in self._providers.values():
            provider.shutdown()


def _provider(service: str, version: str, exporter: GrpcExporter | HttpExporter) -> TracerProvider:
    provider = TracerProvider(
        resource=Resource({"service.name": service, "service.version": version}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def send(grpc_target: str, http_url: str) -> None:
    """One purchase: the first charge times out, the second works, a mail follows in a trace of its own."""
    shop = Shop(grpc_target, http_url)
    client, server = SpanKind.CLIENT, SpanKind.SERVER
    page: dict[str, AttributeValue] = {
        "http.request.method": "POST",
        "http.route": "/checkout",
        "http.response.status_code": 200,
    }
    grpc, sql = {"rpc.system": "grpc"}, {"db.system.name": "postgresql"}
    with (
        shop.span("web", SPANS[0], (0, 812), page, kind=server) as root,
        shop.span("checkout", SPANS[1], (9, 803), grpc, kind=server, parent=root) as order,
    ):
        with shop.span("checkout", SPANS[2], (14, 21), sql, kind=client, parent=order):
            pass
        with (
            shop.span("payment", SPANS[3], (25, 526), grpc, kind=server, parent=order) as charge,
            shop.span("payment", SPANS[4], (26, 526), {"server.port": 443}, kind=client, parent=charge) as call,
        ):
            call.record_exception(PaymentTimeoutError("no answer within 500ms"), timestamp=shop.at(526))
            call.set_status(StatusCode.ERROR, "timeout")
            charge.set_status(StatusCode.ERROR, "payment provider timed out")
        order.add_event("retry", {"delay_ms": 100}, timestamp=shop.at(627))
        with (
            shop.span("payment", SPANS[5], (628, 771), grpc, kind=server, parent=order) as charge,
            shop.span("payment", SPANS[6], (629, 770), {"server.port": 443}, kind=client, parent=charge),
        ):
            charge.add_event("charged", {"amount": 74.9, "currency": "EUR"}, timestamp=shop.at(770))
        with shop.span("checkout", SPANS[7], (774, 790), sql, kind=client, parent=order):
            pass
        queue = {"messaging.system": "kafka", "messaging.destination.name": "orders"}
        with shop.span("checkout", SPANS[8], (791, 795), queue, kind=SpanKind.PRODUCER, parent=order) as published:
            link = Link(published.get_span_context())
    with shop.span("mailer", SPANS[9], (840, 893), queue, kind=SpanKind.CONSUMER, links=[link]):
        pass
    shop.close()
