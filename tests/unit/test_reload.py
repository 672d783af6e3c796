"""The configuration is read again, all of it or nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.reload import Reload, Switch
from app.settings import Settings, load
from app.telemetry.metrics import Metrics
from tests.support.patience import PATIENCE


def write(file: Path, level: str) -> None:
    file.write_text(f"logging: {{level: {level}}}")


class Parts:
    """Parts that note what they are told; the second one may be unable to."""

    def __init__(self) -> None:
        self.able = True
        self.told: list[tuple[str, str]] = []
        self.did = asyncio.Event()

    def first(self, new: Settings) -> Switch:
        return lambda: self.told.append(("first", new.logging.level))

    async def second(self, new: Settings) -> Switch:
        self.did.set()
        if not self.able:
            raise ValueError("exporter.tls: the file went away")
        return lambda: self.told.append(("second", new.logging.level))


@asynccontextmanager
async def heeding(reload: Reload) -> AsyncIterator[None]:
    task = asyncio.create_task(reload.heed())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def reloading(file: Path, parts: Parts, metrics: Metrics) -> AsyncIterator[Reload]:
    reload = Reload(load({}, {}, config=file), metrics)
    reload.parts += [parts.first, parts.second]
    async with heeding(reload):
        yield reload


def outcomes(metrics: Metrics) -> dict[str, float]:
    return {
        sample.labels["outcome"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "otlp_config_reloads_total"
    }


async def read_again(reload: Reload, parts: Parts) -> None:
    parts.did.clear()
    reload.ask()
    async with asyncio.timeout(PATIENCE):
        await parts.did.wait()
    await asyncio.sleep(0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    write(file, "info")
    return file


async def test_each_part_is_told_when_all_are_prepared(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts, metrics = Parts(), Metrics("0")
    async with reloading(file, parts, metrics) as reload:
        write(file, "debug")
        with caplog.at_level("INFO"):
            await read_again(reload, parts)
        assert parts.told == [("first", "debug"), ("second", "debug")]
        assert reload.settings.logging.level == "debug"
        assert outcomes(metrics) == {"success": 1}
        assert caplog.messages == [f"the configuration was read again: logging.level is debug ({file}:1)"]


async def test_where_one_cannot_none_is_told(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts, metrics = Parts(), Metrics("0")
    async with reloading(file, parts, metrics) as reload:
        write(file, "debug")
        parts.able = False
        await read_again(reload, parts)
        assert parts.told == []
        assert reload.settings.logging.level == "info"
        assert outcomes(metrics) == {"failure": 1}
        assert caplog.messages == [
            "the configuration is not read again, and stays as it was: exporter.tls: the file went away"
        ]
        parts.able = True
        await read_again(reload, parts)
        assert parts.told == [("first", "debug"), ("second", "debug")]


async def test_what_was_asked_before_it_began_is_done(file: Path) -> None:
    parts = Parts()
    reload = Reload(load({}, {}, config=file), Metrics("0"))
    reload.parts.append(parts.second)
    reload.ask()
    async with heeding(reload), asyncio.timeout(PATIENCE):
        await parts.did.wait()
