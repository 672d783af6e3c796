"""Services that send to each other: telemetry goes round once at most, and both sides say so."""

from pathlib import Path

import pytest

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.load import Load, identities
from tests.support.service import SOON, Service


def services(directory: Path, number: int) -> list[Service]:
    made = []
    for name in "abc"[:number]:
        (directory / name).mkdir()
        made.append(Service(directory / name, {}))
    return made


def send_to(service: Service, protocol: str) -> dict[str, dict[str, object]]:
    endpoint = f"http://{service.grpc_target}" if protocol == "grpc" else service.http_url
    exporter = {"endpoint": endpoint, "protocol": protocol, "batch_timeout": "20ms", "retry": SOON}
    return {"exporter": exporter, "shutdown": {"delay": "0s", "grace": "500ms"}}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_two_services_that_send_to_each_other_are_cut_apart_and_both_say_so(
    tmp_path: Path, protocol: str
) -> None:
    first, second = services(tmp_path, 2)
    first.configure(send_to(second, protocol))
    second.configure(send_to(first, protocol))
    async with first, second:
        async with Load(first.http_url, None, clients=1) as load:
            await load.until_acknowledged(400)
        scrape = await first.settled(
            lambda s: s.total("otlp_receiver_refused_items_total", reason="loop") > 0, "the loop is cut"
        )
        sent = len(load.acknowledged | load.unacknowledged)
        assert scrape.books(Signal.TRACES).accepted <= sent, "nothing that went round is taken"
        assert "round in circles" in first.log
        books = (await second.law()).books(Signal.TRACES)
        assert 0 < books.accepted <= sent, "nothing goes round twice"
        assert books.sent == 0
        assert "see exporter.headers and exporter.endpoint" in second.log


async def test_a_circle_of_three_is_cut_where_it_closes(tmp_path: Path) -> None:
    first, second, third = services(tmp_path, 3)
    for service, following in ((first, second), (second, third), (third, first)):
        service.configure(send_to(following, "http/protobuf"))
    async with first, second, third:
        async with Load(first.http_url, None, clients=1) as load:
            await load.until_acknowledged(20)
        await first.settled(
            lambda s: s.total("otlp_receiver_refused_items_total", reason="loop") > 0, "the loop is cut"
        )
        for service in (second, third):
            assert (await service.law()).total("otlp_receiver_refused_items_total") == 0


async def test_services_in_a_row_let_everything_through(tmp_path: Path) -> None:
    first, second = services(tmp_path, 2)
    async with Backend() as backend:
        first.configure(send_to(second, "http/protobuf"))
        second.configure({"exporter": {"endpoint": backend.http_endpoint, "batch_timeout": "20ms"}})
        async with second:
            async with first, Load(first.http_url, first.grpc_target) as load:
                await load.until_acknowledged(1000)
                await load.stop()
                await first.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is passed on")
            await second.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
        assert load.acknowledged <= set(identities(request.body for request in backend.taken))
