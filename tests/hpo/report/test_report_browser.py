"""The page of a report as a browser shows it: a real Chromium without a window, and no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from choreographer.browsers import Chromium
from playwright.sync_api import Browser, Page, sync_playwright

from hpo.report import palette
from hpo.report.building import write_report
from hpo.report.sections import SECTIONS
from tests.report_sweeps import confirm, make_every_sweep, make_storage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
DESKTOP, PHONE = 1280, 390
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ["good", "plain", "pruned", "broken", "running", "weighed"]
EMPTY_CHARTS = """() => [...document.querySelectorAll(".chart")].filter((chart) => {
  const marks = chart.querySelectorAll(".cartesianlayer .trace path");
  const box = chart.querySelector(".main-svg")?.getBoundingClientRect();
  return !box || box.height < 100 || box.width < 200 || marks.length === 0;
}).map((chart) => chart.id)"""


@dataclass
class Opened:
    """A page and all that it said or asked for."""

    page: Page
    told: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = Chromium.find_browser(skip_local=False)
    if path is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = make_storage(tmp_path_factory.mktemp("report"))
    make_every_sweep(storage)
    confirm(storage, "plain", trial=0, errors=[3.9, 3.7])
    return write_report(NAMES, storage.path).page


def open_page(browser: Browser, file: Path, width: int, theme: str) -> Opened:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
    opened = Opened(page)
    page.on("console", lambda message: opened.told.append(message.text))
    page.on("pageerror", lambda error: opened.told.append(str(error)))
    page.on("request", lambda request: opened.asked.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector(f"body[data-drawn={theme}]", timeout=40_000)
    return opened


@pytest.fixture(scope="module")
def desktop(browser: Browser, file: Path) -> Iterator[Opened]:
    opened = open_page(browser, file, DESKTOP, "light")
    yield opened
    opened.page.close()


def test_everything_is_drawn_and_fits(desktop: Opened, file: Path) -> None:
    check_everything(desktop, file, DESKTOP)


def test_everything_is_drawn_and_fits_on_a_phone_in_the_dark(browser: Browser, file: Path) -> None:
    opened = open_page(browser, file, PHONE, "dark")
    check_everything(opened, file, PHONE)
    opened.page.close()


def check_everything(opened: Opened, file: Path, width: int) -> None:
    page = opened.page
    # All but that of intervals: these students were not exported.
    assert page.locator("main > section").count() == len(SECTIONS) - 1
    assert page.locator(".chart").count() >= 25
    assert page.evaluate(EMPTY_CHARTS) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.told == []
    # Chromium asks for its own data and blob addresses too; none of them leaves the page.
    asked = [url for url in opened.asked if not url.startswith(("data:", "blob:"))]
    assert asked == [file.as_uri()]


def test_a_point_tells_what_it_is(desktop: Opened) -> None:
    point = desktop.page.locator("#chart-history .scatterlayer .point").nth(7)
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    label = desktop.page.locator("#chart-history .hoverlayer .hovertext")
    label.wait_for(timeout=5_000)
    text = label.first.text_content() or ""
    assert "trial" in text
    assert "learning_rate" in text
    assert desktop.told == []


def test_figures_follow_the_theme(desktop: Opened) -> None:
    page = desktop.page
    line = page.locator("#chart-errors-by-hour .scatterlayer .js-line").first
    light = line.evaluate("node => getComputedStyle(node).stroke")
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("body[data-drawn=dark]", timeout=40_000)
    dark = line.evaluate("node => getComputedStyle(node).stroke")
    page.emulate_media(color_scheme="light")
    page.wait_for_selector("body[data-drawn=light]", timeout=40_000)
    first = palette.SWEEPS[0]
    assert (light, dark) == (_rgb(first), _rgb(palette.DARK[first]))


def test_the_keyboard_reaches_contents_legends_and_choices(desktop: Opened) -> None:
    page = desktop.page
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the result"
    page.locator("nav a[href='#failures']").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#failures"

    panel = page.locator(".panel:has(#chart-errors-by-hour)")
    lines = panel.locator(".scatterlayer .js-line")
    shown = lines.count()
    button = panel.locator(".legend button").first
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    page.wait_for_function(
        "count => document.querySelectorAll('#chart-errors-by-hour .js-line').length < count",
        arg=shown,
    )

    before = lines.first.get_attribute("d")
    panel.locator("input[value='45 min']").focus()
    page.keyboard.press("ArrowLeft")
    assert panel.locator("input[value='30 min']").is_checked()
    chart = "document.querySelector('#chart-errors-by-hour .js-line')"
    page.wait_for_function(f"path => {chart}.getAttribute('d') !== path", arg=before)


def test_figures_are_described(desktop: Opened) -> None:
    labels = desktop.page.locator(".chart[role=img]").evaluate_all(
        "charts => charts.map((chart) => chart.getAttribute('aria-label'))"
    )
    assert all(len(label) > 20 for label in labels)
    assert len(labels) == desktop.page.locator(".chart").count()


def _rgb(color: str) -> str:
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgb({red}, {green}, {blue})"
