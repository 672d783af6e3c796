"""The console in a real browser, beside a real service under real traffic."""

import itertools
import signal

import aiohttp
import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from playwright.async_api import Browser, ViewportSize, expect

from app.console.page import NAVIGATION
from app.core.request import Signal
from tests.support.browser import Tab, opened
from tests.support.exchange import Http
from tests.support.gateway import Gateway
from tests.support.otlp import gauges, log_records, pairs, span, spans
from tests.support.patience import PATIENCE

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("chromium")]
expect.set_options(timeout=PATIENCE * 1000)

PHONE: ViewportSize = {"width": 390, "height": 844}
FUNDS = {"exception.type": "a.Declined", "exception.message": "no funds"}
SILENT_MS, AGAIN_MS = 8000, 4000
"""Longer than a page waits for news, and before it tries again."""
NUMBERS = itertools.count(1000)


async def send(gateway: Gateway) -> None:
    """A purchase, a metric and a log record, which belong together."""
    number = next(NUMBERS)
    page = span("POST /checkout", trace=number, number=1, ms=100, attributes={"http.route": "/checkout"})
    thrown = Span.Event(name="exception", attributes=pairs(FUNDS))
    charge = span("Charge", trace=number, number=2, parent=1, begin_ms=20, ms=60, error="declined", events=[thrown])
    record = LogRecord(event_name="charge failed", severity_number=SeverityNumber.SEVERITY_NUMBER_ERROR)
    await gateway.post(spans("web", page))
    await gateway.post(spans("payment", charge))
    await gateway.post(gauges("web", {"memory": 5}), signal=Signal.METRICS)
    await gateway.post(log_records("payment", record), signal=Signal.LOGS)


# Every view.


@pytest.mark.parametrize(("path", "name"), NAVIGATION)
async def test_each_view_is_live_and_breaks_no_rule(tab: Tab, gateway: Gateway, path: str, name: str) -> None:
    await tab.open(gateway.service.admin_url + path)
    page = tab.page
    await expect(page.get_by_role("heading", level=1)).to_have_text(name)
    await expect(page.get_by_role("navigation", name="Views").get_by_role("link", name=name)).to_have_attribute(
        "aria-current", "page"
    )
    for landmark in ("banner", "main", "contentinfo"):
        await expect(page.get_by_role(landmark)).to_be_visible()
    await expect(page.locator("#connection")).to_have_text("Live")


async def test_links_lead_from_view_to_view(tab: Tab, gateway: Gateway) -> None:
    await tab.open(gateway.service.admin_url)
    for _, name in NAVIGATION[1:]:
        await tab.page.get_by_role("navigation").get_by_role("link", name=name).click()
        await expect(tab.page).to_have_title(f"{name} · otlp-service")


async def test_the_flow_moves_as_telemetry_does(tab: Tab, gateway: Gateway) -> None:
    await tab.open(gateway.service.admin_url)
    row = tab.page.get_by_role("row").filter(has_text="spans")
    before = int(await row.get_by_role("cell").nth(4).inner_text())
    await send(gateway)
    await expect(row.get_by_role("cell").nth(4)).to_have_text(str(before + 2))
    await expect(tab.page.get_by_role("listitem").filter(has_text="Collector")).to_contain_text("well")


async def test_an_outage_is_told_where_it_hurts_and_so_is_its_end(tab: Tab, own_gateway: Gateway) -> None:
    await tab.open(own_gateway.service.admin_url)
    await expect(tab.page.get_by_role("main")).to_contain_text("Nothing has come yet. Send to http://127.0.0.1")
    port = own_gateway.backend.http_port
    assert port
    await own_gateway.backend.stop()
    await send(own_gateway)
    verdict = tab.page.locator(".verdict")
    await expect(verdict).to_contain_text("In trouble at the collector:")
    collector = tab.page.locator(".hurts")
    await expect(collector).to_contain_text("Collector")
    await expect(collector).to_contain_text("Here it hurts.")
    await tab.page.set_viewport_size(PHONE)
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await tab.open(f"{own_gateway.service.admin_url}/console/destination")
    await expect(tab.page.get_by_role("row").filter(has_text="not taken").first).to_be_visible()
    await expect(tab.page.get_by_role("row").filter(has_text="unavailable").first).to_be_visible()
    await own_gateway.backend.start()
    await expect(tab.page.get_by_role("row").filter(has_text="taken").first).to_contain_text("●")


async def test_the_queue_is_drawn_and_told_as_a_table(tab: Tab, gateway: Gateway) -> None:
    await tab.open(f"{gateway.service.admin_url}/console/queue")
    await expect(tab.page.get_by_role("img", name="How full the queue was.")).to_be_visible()
    await tab.page.get_by_text("The same as a table").first.click()
    await expect(tab.page.get_by_role("columnheader", name="Time (UTC)").first).to_be_visible()


# Traces, metrics, logs.


async def test_a_trace_passes_is_found_and_opened(tab: Tab, gateway: Gateway) -> None:
    page, base = tab.page, gateway.service.admin_url
    await tab.open(f"{base}/console/traces")
    await send(gateway)
    await expect(page.get_by_role("link", name="POST /checkout").first).to_be_visible()
    for label, text in (("Service", "payment"), ("Name of a span", "charge"), ("Takes at least", "50ms")):
        await page.get_by_label(label).fill(text)
    await page.get_by_label("With an error").check()
    await page.get_by_role("button", name="Search").click()
    await tab.live()
    await expect(page.get_by_label("Service")).to_have_value("payment")
    await page.get_by_role("link", name="POST /checkout").first.click()
    await tab.live()
    await expect(page.get_by_role("heading", level=2)).to_have_text("POST /checkout")
    await page.get_by_text("Charge").click()
    await expect(page.get_by_role("region", name="Events")).to_contain_text("Declined: no funds")
    await expect(page.get_by_role("region", name="Resource").first).to_contain_text("service.version")


async def test_a_search_that_finds_nothing_or_is_none_says_so(tab: Tab, gateway: Gateway) -> None:
    await tab.open(f"{gateway.service.admin_url}/console/traces")
    await send(gateway)
    await expect(tab.page.get_by_role("link", name="POST /checkout").first).to_be_visible()
    await tab.open(f"{gateway.service.admin_url}/console/traces?service=nobody")
    await expect(tab.page.get_by_role("main")).to_contain_text("No trace that has passed is like that.")
    await tab.page.get_by_label("Takes at least").fill("soon")
    await tab.page.get_by_label("Takes at least").press("Enter")
    await expect(tab.page.get_by_role("alert")).to_contain_text("write 200ms or 1.5s")
    await tab.page.get_by_role("link", name="Clear").click()
    await expect(tab.page.get_by_label("Service")).to_have_value("")


async def test_what_a_reader_opened_and_where_the_focus_is_outlive_what_comes(tab: Tab, gateway: Gateway) -> None:
    page, base = tab.page, gateway.service.admin_url
    await tab.open(f"{base}/console/traces")
    await gateway.post(spans("web", span("first", trace=9, number=1, ms=100)))
    await page.get_by_role("link", name="first").click()
    await tab.live()
    summary = page.locator("summary").filter(has_text="first")
    await summary.focus()
    await page.keyboard.press("Enter")
    await gateway.post(spans("web", span("earlier", trace=9, number=2, begin_ms=-50, ms=20)))
    await expect(page.locator("summary")).to_have_count(2)
    await expect(page.locator("summary").first).to_contain_text("earlier")
    await expect(summary).to_be_focused()
    await expect(page.locator("details").filter(has=summary)).to_have_attribute("open", "")
    await expect(page.locator("details").first).not_to_have_attribute("open", "")


async def test_metrics_and_logs_are_tables_that_can_be_searched(tab: Tab, gateway: Gateway) -> None:
    page, base = tab.page, gateway.service.admin_url
    for path, text in (("metrics", "memory"), ("logs", "charge failed")):
        await tab.open(f"{base}/console/{path}")
        await send(gateway)
        await expect(page.get_by_role("cell", name=text).first).to_be_visible()
        await page.get_by_label("Search for").fill("not there")
        await page.get_by_role("button", name="Search").click()
        await expect(page.get_by_role("main")).to_contain_text("has this in it")


HOSTILE = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>"


@pytest.mark.parametrize("path", ["traces", "metrics", "logs", "dead", "destination"])
async def test_what_clients_send_runs_nowhere(tab: Tab, gateway: Gateway, path: str) -> None:
    page = tab.page
    await tab.open(f"{gateway.service.admin_url}/console/{path}")
    gateway.backend.script(Http(400, body=HOSTILE.encode()))
    evil = {HOSTILE: HOSTILE}
    await gateway.post(spans(HOSTILE, span(HOSTILE, trace=6, attributes=evil, error=HOSTILE)))
    await gateway.post(gauges(HOSTILE, {HOSTILE: 1}, evil), signal=Signal.METRICS)
    await gateway.post(log_records(HOSTILE, LogRecord(event_name=HOSTILE, severity_text=HOSTILE)), signal=Signal.LOGS)
    await expect(page.get_by_role("main")).to_contain_text("<script>alert(2)</script>")
    if path == "traces":
        await page.get_by_role("link", name="<img").first.click()
        await expect(page.get_by_role("heading", level=2)).to_contain_text("<script>")
        await page.locator("summary").first.click()
    assert await page.locator("main :is(img, script)").count() == 0


# Dead letters.


async def test_a_dead_letter_is_replayed_and_another_purged_by_keyboard_alone(tab: Tab, own_gateway: Gateway) -> None:
    page = tab.page
    await tab.open(f"{own_gateway.service.admin_url}/console/dead")
    await expect(page.get_by_role("main")).to_contain_text("None.")
    own_gateway.backend.script(Http(400, body=b"no such tenant"))
    await own_gateway.post(spans("web", span("one")))
    await expect(page.get_by_role("region", name="Dead letters", exact=True)).to_contain_text("no such tenant")
    await page.get_by_role("link", name="Replay dead letter").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_contain_text("back to the queue, to be delivered like any other?")
    await page.get_by_role("button", name="Replay").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".done")).to_have_text("1 letter with 1 item went back to the queue.")
    await own_gateway.backend.received(lambda backend: len(backend.taken) == 1)
    own_gateway.backend.script(Http(400, body=b"still none"))
    await own_gateway.post(spans("web", span("two")))
    await page.get_by_role("link", name="Purge all dead letters", exact=True).click()
    await expect(page.get_by_role("main")).to_contain_text("This cannot be undone.")
    await page.get_by_role("link", name="Leave it").click()
    await page.get_by_role("link", name="Purge all dead letters", exact=True).click()
    await page.get_by_role("button", name="Purge").click()
    await expect(page.locator(".done")).to_have_text("1 letter with 1 item was deleted.")


# A page that is live.


async def test_a_pause_holds_the_page_until_it_is_resumed(tab: Tab, gateway: Gateway) -> None:
    page = tab.page
    await tab.open(gateway.service.admin_url)
    clock = page.locator("time")
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator("#connection")).to_have_text("Paused")
    held = await clock.inner_text()
    async with opened(page.context.browser or pytest.fail("no browser")) as other:
        await other.open(gateway.service.admin_url)
        await expect(other.page.locator("time")).not_to_have_text(held)
    await expect(clock).to_have_text(held)
    await page.get_by_role("button", name="Resume").click()
    await expect(clock).not_to_have_text(held)


async def test_a_service_that_is_lost_is_told_and_found_again(browser: Browser, own_gateway: Gateway) -> None:
    async with opened(browser) as tab:
        await tab.page.clock.install()
        await tab.open(own_gateway.service.admin_url)
        connection = tab.page.locator("#connection")
        own_gateway.service.kill()
        await expect(connection).to_have_text("The connection to the service is lost. Trying again …")
        await own_gateway.service.start()
        await tab.page.clock.fast_forward(AGAIN_MS)
        await expect(connection).to_have_text("Live")
        await own_gateway.service.terminate()
        await expect(connection).to_have_text("The service has ended. Trying to reach it again …")
        await own_gateway.service.start()
        await tab.page.clock.fast_forward(AGAIN_MS)
        await expect(connection).to_have_text("Live")


async def test_a_service_that_falls_silent_is_noticed(browser: Browser, own_gateway: Gateway) -> None:
    async with opened(browser) as tab:
        await tab.page.clock.install()
        await tab.open(own_gateway.service.admin_url)
        own_gateway.service.signal(signal.SIGSTOP)
        await tab.page.clock.fast_forward(SILENT_MS)
        await expect(tab.page.locator("#connection")).to_contain_text("Nothing has come from the service for a while.")
        own_gateway.service.signal(signal.SIGCONT)
        await tab.page.clock.fast_forward(AGAIN_MS)
        await tab.live()


async def test_a_page_too_many_says_so_and_is_live_when_there_is_room(browser: Browser, gateway: Gateway) -> None:
    async with opened(browser) as tab, aiohttp.ClientSession(gateway.service.admin_url) as client:
        streams = [await client.get("/console/events?path=/") for _ in range(16)]
        await tab.page.goto(gateway.service.admin_url)
        await expect(tab.page.locator("#connection")).to_contain_text("Too many pages are open")
        for stream in streams:
            stream.close()
        await tab.live()


async def test_a_page_that_is_hidden_looks_on_only_where_what_passes_is_noted(tab: Tab, gateway: Gateway) -> None:
    hide = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true}); "
    hide += "document.dispatchEvent(new Event('visibilitychange')); }"
    for path, hidden in (("/", "Waits until it is seen"), ("/console/traces", "Live")):
        await tab.open(gateway.service.admin_url + path)
        await tab.page.evaluate(hide, True)
        await expect(tab.page.locator("#connection")).to_have_text(hidden)
        await tab.page.evaluate(hide, False)
        await expect(tab.page.locator("#connection")).to_have_text("Live")


async def test_where_it_hurts_is_told_on_every_page(tab: Tab, own_gateway: Gateway) -> None:
    own_gateway.backend.script(Http(400))
    await own_gateway.post(spans("web", span("refused")))
    await tab.open(f"{own_gateway.service.admin_url}/console/configuration")
    await tab.page.get_by_role("link", name="Strained at the exporter").click()
    await expect(tab.page.locator(".hurts")).to_contain_text("Here it hurts.")


async def test_without_javascript_a_page_says_what_it_says(browser: Browser, gateway: Gateway) -> None:
    async with opened(browser, java_script_enabled=False) as tab:
        await tab.page.goto(gateway.service.admin_url)
        await expect(tab.page.get_by_role("listitem").filter(has_text="Receiver")).to_be_visible()
        await tab.page.get_by_role("link", name="Traces").click()
        await tab.page.get_by_label("Service").fill("nobody")
        await tab.page.get_by_role("button", name="Search").click()
        await expect(tab.page.get_by_label("Service")).to_have_value("nobody")


# For everybody.


async def test_by_keyboard_one_skips_to_the_content_and_sees_where_one_is(tab: Tab, gateway: Gateway) -> None:
    page = tab.page
    await tab.open(gateway.service.admin_url)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_be_focused()
    await page.get_by_role("link", name="Traces").focus()
    await page.keyboard.press("Enter")
    await expect(page).to_have_title("Traces · otlp-service")


@pytest.mark.parametrize("path", [path for path, _ in NAVIGATION])
async def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Browser, gateway: Gateway, path: str) -> None:
    async with opened(browser, viewport=PHONE) as tab:
        await tab.open(gateway.service.admin_url + path)
        width = await tab.page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_all_text_has_enough_contrast(browser: Browser, gateway: Gateway, scheme: str) -> None:
    async with opened(browser, color_scheme=scheme) as tab:
        for path, _ in NAVIGATION:
            await tab.open(gateway.service.admin_url + path)
            if path == "/console/traces":
                await send(gateway)
                await tab.page.get_by_role("link", name="POST /checkout").first.click()
                await tab.live()
            assert await tab.page.evaluate(CONTRAST) == [], path


async def test_who_wants_less_motion_gets_none(browser: Browser, gateway: Gateway) -> None:
    async with opened(browser, reduced_motion="reduce") as tab:
        await tab.open(gateway.service.admin_url)
        moving = "[...document.querySelectorAll('*')].some(e => getComputedStyle(e).transitionDuration !== '0s')"
        assert await tab.page.evaluate(moving) is False


CONTRAST = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.nodeValue.trim());
    if (!own || !element.checkVisibility() || element.closest("noscript, svg")) continue;
    const [one, two] = [light(rgb(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (two + 0.05);
    if (contrast < 4.5) poor.push(`${element.outerHTML.slice(0, 80)}: ${contrast.toFixed(2)}`);
  }
  return poor;
}"""
