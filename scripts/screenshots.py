"""Take the pictures of docs/console.md: each view under traffic, in light and in dark, and on a phone."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Browser

from app.core.request import Signal
from app.send.options import Options
from scripts.traffic import Traffic
from tests.support.browser import Tab, find_chromium, launched, opened
from tests.support.exchange import Http
from tests.support.gateway import Gateway
from tests.support.otlp import span, spans
from tests.support.process import until

IMAGES = Path(__file__).parents[1] / "docs/images"
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
PATIENT: dict[str, dict[str, Any]] = {"exporter": {"retry": {"initial_interval": "2s", "max_interval": "20s"}}}
_WARM_SECONDS = 15
_OUTAGE_SECONDS = 12


class Pictures:
    """Takes them of the console at `base`."""

    def __init__(self, browser: Browser, base: str, directory: Path) -> None:
        self._browser = browser
        self._base = base
        self._directory = directory

    async def take(
        self, name: str, path: str, scheme: str = "light", size: dict[str, int] = DESK, *, whole: bool = False
    ) -> None:
        """A picture of a page, or of the whole of it, as it is after a look or two."""
        async with opened(self._browser, viewport=size, color_scheme=scheme) as tab:
            await tab.open(self._base + path)
            await self._shoot(tab, name, whole=whole)

    async def take_a_trace(self, name: str, scheme: str) -> None:
        """A trace with errors, with a span of it opened."""
        async with opened(self._browser, viewport=DESK, color_scheme=scheme) as tab:
            await tab.open(f"{self._base}/console/traces?errors=yes&name=checkout")
            await tab.page.get_by_role("link", name="POST /checkout").first.click()
            await tab.live()
            await tab.page.locator("summary").filter(has_text="card.example").first.click()
            await self._shoot(tab, name)

    async def look(self, path: str, seconds: float) -> None:
        """Keep a page open, so that what passes is decoded."""
        async with opened(self._browser) as tab:
            await tab.open(self._base + path)
            await asyncio.sleep(seconds)

    async def _shoot(self, tab: Tab, name: str, *, whole: bool = False) -> None:
        await tab.page.evaluate("document.fonts.ready")
        await tab.page.wait_for_timeout(1200)
        await tab.page.screenshot(path=self._directory / f"console-{name}.png", full_page=whole)


async def take_all(directory: Path) -> None:
    console: dict[str, dict[str, Any]] = {"console": {"enabled": True}, "queue": {"max_bytes": "64MiB"}}
    with tempfile.TemporaryDirectory() as temporary:
        async with Gateway(Path(temporary), console | PATIENT) as gateway, launched() as browser:
            service = gateway.service
            pictures = Pictures(browser, service.admin_url, directory)
            options = [
                Options(Signal.TRACES, "grpc", service.grpc_target, timeout=2),
                Options(Signal.METRICS, "http/protobuf", service.http_url, timeout=2),
                Options(Signal.LOGS, "http/json", service.http_url, timeout=2),
            ]
            with Traffic(options):
                looks = ("traces", "metrics", "logs")
                await asyncio.gather(*(pictures.look(f"/console/{path}", _WARM_SECONDS) for path in looks))
                await pictures.take("flow", "/")
                await pictures.take("traces", "/console/traces")
                await pictures.take_a_trace("trace", "dark")
                await pictures.take("traces-phone", "/console/traces", size=PHONE)
                await pictures.take("metrics", "/console/metrics")
                await pictures.take("logs", "/console/logs", "dark")
                await pictures.take("configuration", "/console/configuration")
                gateway.backend.script(Http(400, body=b"tenant shop is not known here"))
                await gateway.post(spans("web", span("GET /cart")))
                await service.settled(lambda scrape: scrape.books(Signal.TRACES).dead > 0, "a dead letter")
                await pictures.take("dead", "/console/dead")
                await gateway.backend.stop()
                await asyncio.sleep(_OUTAGE_SECONDS)
                for scheme in ("light", "dark"):
                    await pictures.take(f"outage-{scheme}", "/", scheme)
                await pictures.take("outage-phone", "/", size=PHONE)
                await pictures.take("destination", "/console/destination")
                await pictures.take("health", "/console/health", "dark")
                await asyncio.sleep(_OUTAGE_SECONDS)
                await gateway.backend.start()

                async def is_delivered() -> bool:
                    return (await service.law()).books(Signal.TRACES).queued == 0

                await until(is_delivered, "what waited is delivered")
                await asyncio.sleep(_OUTAGE_SECONDS)
                await pictures.take("queue", "/console/queue", whole=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description=__doc__)
    parser.add_argument("--into", metavar="DIRECTORY", type=Path, default=IMAGES, help="(docs/images)")
    options = parser.parse_args()
    if find_chromium() is None:
        sys.exit("scripts/screenshots: there is no chromium; install Debian's package chromium")
    options.into.mkdir(parents=True, exist_ok=True)
    asyncio.run(take_all(options.into))


if __name__ == "__main__":
    main()
