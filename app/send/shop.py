"""A small shop: four services, whose purchases make traces, metrics and logs that belong together."""

from random import Random

from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, set_span_in_context

from app.send.services import Attributes, Clock, Memory, Service

__all__ = ["LOG_RECORDS", "METRICS", "SPANS", "Shop"]

SPANS = (
    "POST /checkout",
    "Checkout/PlaceOrder",
    "SELECT stock",
    "Payment/Charge",
    "POST card.example/charges",
    "Payment/Charge",
    "POST card.example/charges",
    "INSERT order",
    "orders publish",
    "orders process",
)
"""The names of the spans of the first purchase, in the order of their start."""

LOG_RECORDS = (
    "2 items reserved",
    "charge failed, trying again",
    "charged 74.90 EUR",
    "order 4711 placed",
    "POST /checkout 200",
    "order 4711 confirmed by mail",
)
"""The bodies of its log records, in the order of their time."""

METRICS = (
    "http.server.request.duration",
    "http.server.active_requests",
    "process.memory.usage",
    "shop.orders",
    "shop.revenue",
    "shop.stock",
    "shop.stock",
    "process.memory.usage",
    "shop.charges",
    "shop.charges",
    "process.memory.usage",
    "shop.mails",
    "process.memory.usage",
)
"""The names of the metrics after it, one for each data point."""

_FIRST_ORDER = 4711
_FIRST_TOTAL = 74.9
_FAILURE_EVERY = 4
_MIB = 1 << 20
_PAGE: Attributes = {"http.request.method": "POST", "http.route": "/checkout", "http.response.status_code": 200}
_GRPC: Attributes = {"rpc.system": "grpc"}
_SQL: Attributes = {"db.system.name": "postgresql"}
_KAFKA: Attributes = {"messaging.system": "kafka", "messaging.destination.name": "orders"}
_CARD: Attributes = {"server.address": "card.example", "server.port": 443}


class PaymentTimeoutError(Exception):
    """The payment provider did not answer in time."""


class Shop:
    """Sells. The first purchase is always the same, later ones vary. `memory` has what its services would export."""

    def __init__(self) -> None:
        self.memory = Memory()
        self._web = Service("web", "2.4.1", self.memory)
        self._checkout = Service("checkout", "1.9.0", self.memory)
        self._payment = Service("payment", "1.3.2", self.memory)
        self._mailer = Service("mailer", "0.8.0", self.memory)
        self._purchases = 0
        self._chance = Random()  # noqa: S311 - it makes data look alive
        web, checkout = self._web.meter, self._checkout.meter
        self._duration = web.create_histogram("http.server.request.duration", "s", "How long requests took.")
        self._active = web.create_up_down_counter("http.server.active_requests", "{request}", "Requests under way.")
        self._orders = checkout.create_counter("shop.orders", "{order}", "Orders placed.")
        self._revenue = checkout.create_counter("shop.revenue", "EUR", "What was charged.")
        self._stock = checkout.create_gauge("shop.stock", "{item}", "Items on stock.")
        self._charges = self._payment.meter.create_counter("shop.charges", "{charge}", "Attempts to charge a card.")
        self._mails = self._mailer.meter.create_counter("shop.mails", "{mail}", "Mails sent.")
        self._memory_used = [
            service.meter.create_gauge("process.memory.usage", "By", "Memory in use.")
            for service in (self._web, self._checkout, self._payment, self._mailer)
        ]

    def sell(self) -> None:
        """One purchase. At first, and now and then, a charge times out and is tried again; a mail follows in a trace
        of its own.
        """
        first, fails = self._purchases == 0, self._purchases % _FAILURE_EVERY == 0
        order_id = _FIRST_ORDER + self._purchases
        total = _FIRST_TOTAL if first else round(self._chance.uniform(5, 200), 2)
        clock = Clock(900, 1.0 if first else self._chance.uniform(0.4, 1.6))
        charged = 628 if fails else 25  # when the charge begins that works
        self._purchases += 1
        self._active.add(1)
        with self._web.span(SPANS[0], clock.between(0, charged + 184), _PAGE, kind=SpanKind.SERVER) as page:
            published = self._place(clock, page, order_id, total, charged)
            self._web.log(SeverityNumber.INFO, "POST /checkout 200", clock.at(charged + 183), page)
            self._duration.record(clock.seconds(charged + 184), _PAGE, set_span_in_context(page))
        self._active.add(-1)
        mailing = clock.between(charged + 212, charged + 265)
        with self._mailer.span(SPANS[9], mailing, _KAFKA, kind=SpanKind.CONSUMER, links=[Link(published)]) as mail:
            text = f"order {order_id} confirmed by mail"
            self._mailer.log(SeverityNumber.INFO, text, clock.at(charged + 264), mail, {"order.id": order_id})
            self._mails.add(1, {"mail.kind": "confirmation"}, set_span_in_context(mail))
        for item in ("cup", "plate"):
            self._stock.set(self._chance.randrange(1000), {"item": item})
        for gauge in self._memory_used:
            gauge.set(self._chance.randrange(60, 90) * _MIB)

    def _place(self, clock: Clock, page: Span, order_id: int, total: float, charged: int) -> SpanContext:
        """The order; returns the context of the message that it publishes."""
        log, placed = self._checkout.log, {"order.id": order_id}
        times = clock.between(9, charged + 175)
        with self._checkout.span(SPANS[1], times, _GRPC, kind=SpanKind.SERVER, parent=page) as order:
            self._query(SPANS[2], clock.between(14, 21), order)
            log(SeverityNumber.DEBUG, "2 items reserved", clock.at(22), order, placed)
            if charged > 500:
                self._charge_in_vain(clock, order)
                order.add_event("retry", {"delay_ms": 100}, timestamp=clock.at(627))
            self._charge(clock, order, total, charged)
            self._query(SPANS[7], clock.between(charged + 146, charged + 162), order)
            text = f"order {order_id} placed"
            log(SeverityNumber.INFO, text, clock.at(charged + 165), order, placed | {"order.total": total})
            context = set_span_in_context(order)
            self._orders.add(1, {"currency": "EUR"}, context)
            self._revenue.add(total, {"currency": "EUR"}, context)
            times = clock.between(charged + 163, charged + 167)
            with self._checkout.span(SPANS[8], times, _KAFKA, kind=SpanKind.PRODUCER, parent=order) as message:
                return message.get_span_context()

    def _query(self, name: str, times: tuple[int, int], parent: Span) -> None:
        with self._checkout.span(name, times, _SQL, kind=SpanKind.CLIENT, parent=parent):
            pass

    def _charge_in_vain(self, clock: Clock, order: Span) -> None:
        failure = PaymentTimeoutError("no answer within 500ms")
        times = clock.between(25, 526), clock.between(26, 526)
        with (
            self._payment.span(SPANS[3], times[0], _GRPC, kind=SpanKind.SERVER, parent=order) as charge,
            self._payment.span(SPANS[4], times[1], _CARD, kind=SpanKind.CLIENT, parent=charge) as call,
        ):
            call.record_exception(failure, timestamp=clock.at(526))
            call.set_status(StatusCode.ERROR, "timeout")
            charge.set_status(StatusCode.ERROR, "payment provider timed out")
            exception: Attributes = {
                "exception.type": type(failure).__name__,
                "exception.message": str(failure),
            }
            self._payment.log(SeverityNumber.ERROR, "charge failed, trying again", clock.at(526), call, exception)
            self._charges.add(1, {"outcome": "timeout"}, set_span_in_context(charge))

    def _charge(self, clock: Clock, order: Span, total: float, begin: int) -> None:
        times = clock.between(begin, begin + 143), clock.between(begin + 1, begin + 142)
        with (
            self._payment.span(SPANS[5], times[0], _GRPC, kind=SpanKind.SERVER, parent=order) as charge,
            self._payment.span(SPANS[6], times[1], _CARD, kind=SpanKind.CLIENT, parent=charge),
        ):
            charge.add_event("charged", {"amount": total, "currency": "EUR"}, timestamp=clock.at(begin + 142))
            text = f"charged {total:.2f} EUR"
            self._payment.log(SeverityNumber.INFO, text, clock.at(begin + 142), charge, {"amount": total})
            self._charges.add(1, {"outcome": "ok"}, set_span_in_context(charge))
