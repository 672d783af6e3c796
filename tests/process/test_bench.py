"""scripts/bench, one of each of its measurements, as short as can be."""

from pathlib import Path

import pytest

from tests.support.bench.compare import bodies, compare, measure, stand
from tests.support.bench.gateways import DISK, MEMORY, NATIVE, PEERS, Gateway
from tests.support.bench.growth import by_clients, by_depth, by_outage, by_size
from tests.support.bench.json_door import at_the_json_door
from tests.support.bench.latency import acknowledging
from tests.support.bench.sink import Sink

pytestmark = [pytest.mark.alone, pytest.mark.needs("h2load")]
MIB = 1 << 20
ROTEL, _, COLLECTOR_DISK = (
    pytest.param(peer, marks=pytest.mark.needs(program), id=peer.name)
    for peer, program in zip(PEERS, ("rotel", "otelcol", "otelcol"), strict=True)
)


@pytest.mark.parametrize("gateway", [DISK, NATIVE, ROTEL, COLLECTOR_DISK])
async def test_every_span_that_a_gateway_takes_is_found_at_its_sink(gateway: Gateway, tmp_path: Path) -> None:
    assert gateway.missing() is None
    files = bodies(tmp_path, [100])
    async with Sink(tmp_path) as sink, gateway.make(tmp_path / "gateway", sink.endpoint) as process:
        for transport in gateway.transports:
            cell = await measure(gateway, process, sink, transport, 100, files[transport, 100], 0.3, 4)
            assert cell.requests > 0
            assert cell.others == 0
            assert cell.lost == 0, process.log
            assert 0 < cell.cpu_us_per_span < 1e6
            assert cell.memory_bytes > MIB


async def test_gateways_are_compared(tmp_path: Path) -> None:
    cells = [cell async for cell in compare(tmp_path, [NATIVE], 1, 0.2)]
    assert [(cell.gateway, cell.spans) for cell in cells] == [(NATIVE.name, spans) for spans in (1, 100, 512)]


async def test_a_start_costs_and_so_does_idling(tmp_path: Path) -> None:
    (standing,) = [each async for each in stand(tmp_path, [MEMORY], 1, 0.2)]
    assert standing.ready_cpu_seconds > 0.1
    assert 0 <= standing.idle_percent < 50


async def test_acknowledgements_are_timed(tmp_path: Path) -> None:
    latencies = [each async for each in acknowledging(tmp_path, 0.5)]
    assert [each.transport for each in latencies] == ["http", "grpc"]
    assert all(0 < each.p50 <= each.p99 <= each.p999 for each in latencies)


async def test_costs_are_told_for_each_size_and_each_number_of_clients(tmp_path: Path) -> None:
    sizes = [point async for point in by_size(tmp_path / "sizes", [8], 0.2)]
    clients = [point async for point in by_clients(tmp_path / "clients", [2], 0.2)]
    assert [(point.at, point.transport) for point in sizes] == [(8, "http"), (8, "grpc")]
    assert [(point.at, point.transport) for point in clients] == [(2, "http"), (2, "grpc")]


async def test_a_backlog_is_filled_step_by_step_and_let_go(tmp_path: Path) -> None:
    depths = [depth async for depth in by_depth(tmp_path, 256 * MIB, 2, 60)]
    assert len(depths) == 2
    assert depths[0].bytes > depths[1].bytes > 64 * MIB
    assert all(depth.in_us > 0 < depth.out_us for depth in depths)


async def test_an_outage_costs_what_all_of_it_costs(tmp_path: Path) -> None:
    (outage,) = [outage async for outage in by_outage(tmp_path, [1], 0.5)]
    assert outage.seconds == 1
    assert outage.cpu_us > 0


async def test_both_readers_of_json_are_timed() -> None:
    doors = [door async for door in at_the_json_door([2], 2)]
    assert [(door.signal, door.items) for door in doors] == [("traces", 2), ("metrics", 2), ("logs", 2)]
    assert all(door.ours_us > 0 < door.json_format_us for door in doors)
