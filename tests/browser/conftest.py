"""One browser and one service for all; each test has a tab of its own, and no browser complains in any of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.support.browser import Tab, launched, opened
from tests.support.gateway import Gateway


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with launched() as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with Gateway(tmp_path_factory.mktemp("gateway"), {"console": {"enabled": True}}) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="session")
async def own_gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A service for a test that does something to it."""
    async with Gateway(tmp_path, {"console": {"enabled": True}}) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser: Browser) -> AsyncIterator[Tab]:
    async with opened(browser, viewport={"width": 1280, "height": 900}) as tab:
        yield tab
        assert tab.complaints == []
