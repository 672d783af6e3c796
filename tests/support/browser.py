"""A real browser: Debian's chromium, driven by Playwright."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, async_playwright

from tests.support.patience import PATIENCE

__all__ = ["Tab", "find_chromium", "launched", "opened"]


def find_chromium() -> str | None:
    """Where a chromium is."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """A browser without a window."""
    root = os.geteuid() == 0  # whose processes chromium puts in no sandbox
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox"] if root else [], handle_sigint=False
        )
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """A page, and all that a browser complained about on it: errors, violations of its policy, files that failed."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", self._failed)
        page.on("dialog", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _failed(self, request: Request) -> None:
        # What is under way when a page is left is given up, above all its stream of events.
        if "ERR_ABORTED" not in str(request.failure):
            self.complaints.append(f"{request.url}: {request.failure}")

    async def _asked(self, dialog: Dialog) -> None:
        self.complaints.append(f"a dialog: {dialog.message}")
        await dialog.dismiss()

    async def open(self, address: str) -> None:
        """Go to a page, and wait until it is live."""
        await self.page.goto(address)
        await self.live()

    async def live(self) -> None:
        await self.page.wait_for_selector("body[data-connection=live]")


@asynccontextmanager
async def opened(browser: Browser, **options: Any) -> AsyncIterator[Tab]:
    """A tab of its own, with `options` as Playwright's ``new_context`` has them."""
    context: BrowserContext = await browser.new_context(**options)
    context.set_default_timeout(PATIENCE * 1000)
    try:
        yield Tab(await context.new_page())
    finally:
        await context.close()
