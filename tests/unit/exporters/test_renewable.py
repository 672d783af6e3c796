"""An exporter gives way to another while attempts are under way."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from app.core.request import ExportRequest, Signal
from app.exporters import Renewable
from app.settings import ExporterSettings, TlsSettings

REQUEST = ExportRequest(Signal.TRACES, b"", 1)
RED, BLUE = ExporterSettings(headers={"tenant": "red"}), ExporterSettings(headers={"tenant": "blue"})


class Slow:
    """Takes a request when it may."""

    def __init__(self, settings: ExporterSettings, able: bool) -> None:
        self.settings = settings
        self.able = able
        self.may = asyncio.Event()
        self.taken = 0
        self.state = "made"

    async def consume(self, request: ExportRequest) -> None:
        assert self.state == "there"
        await self.may.wait()
        self.taken += request.items

    async def __aenter__(self) -> Self:
        if not self.able:
            raise ValueError("no certificate")
        self.state = "there"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.state = "gone"


class Maker:
    def __init__(self) -> None:
        self.made: list[Slow] = []
        self.able = True

    def __call__(self, settings: ExporterSettings) -> Slow:
        self.made.append(Slow(settings, self.able))
        return self.made[-1]


@pytest.fixture
def make() -> Maker:
    return Maker()


async def turns(condition: Callable[[], bool]) -> None:
    for _ in range(20):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("not in twenty turns")


async def test_what_is_under_way_ends_with_the_one_it_began_with(make: Maker) -> None:
    async with Renewable(make, RED) as exporter:
        attempts = [asyncio.create_task(exporter.consume(REQUEST)) for _ in range(2)]
        await asyncio.sleep(0)
        switch = await exporter.prepare(BLUE)
        red, blue = make.made
        late = asyncio.create_task(exporter.consume(REQUEST))
        await asyncio.sleep(0)
        switch()
        after = asyncio.create_task(exporter.consume(REQUEST))
        attempts[1].cancel()
        await asyncio.sleep(0)
        assert (red.state, blue.state) == ("there", "there")
        red.may.set()
        await asyncio.gather(attempts[0], late)
        await turns(lambda: red.state == "gone")
        assert (red.taken, blue.taken) == (2, 0)
        blue.may.set()
        await after
        assert blue.taken == 1
    assert blue.state == "gone"


async def test_one_that_does_nothing_is_gone_at_once(make: Maker) -> None:
    async with Renewable(make, RED) as exporter:
        (await exporter.prepare(BLUE))()
        await turns(lambda: make.made[0].state == "gone")


async def test_what_cannot_be_used_changes_nothing(make: Maker) -> None:
    async with Renewable(make, RED) as exporter:
        make.able = False
        with pytest.raises(ValueError, match="no certificate"):
            await exporter.prepare(BLUE)
        make.made[0].may.set()
        await exporter.consume(REQUEST)
        assert make.made[0].taken == 1


async def test_the_same_settings_need_no_other_unless_there_are_files(make: Maker, tmp_path: Path) -> None:
    async with Renewable(make, RED) as exporter:
        (await exporter.prepare(RED))()
        assert len(make.made) == 1
        with_files = RED.model_copy(update={"tls": TlsSettings(ca_file=tmp_path / "ca.pem")})
        for _ in range(2):
            (await exporter.prepare(with_files))()
        assert len(make.made) == 3
