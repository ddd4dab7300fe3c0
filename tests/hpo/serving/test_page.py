"""The page as a browser shows it: a real Chromium without a window, against a running service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from choreographer.browsers import Chromium
from playwright.sync_api import Browser, Page, sync_playwright

from tests.hpo.cli.test_serve_command import rows
from tests.hpo.serving.served_process import ServedProcess, served_process
from tests.small_exports import Exported

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = Chromium.find_browser(skip_local=False)
    if path is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def served(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    state = tmp_path_factory.mktemp("state")
    options = ("--state", str(state), "--token", "sesame")
    with served_process(exported.folder, *options) as process:
        yield process


def opened(browser: Browser, url: str, width: int) -> tuple[Page, list[str]]:
    page, trouble = browser.new_page(viewport={"width": width, "height": 900}), list[str]()
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda one: None if one.url.startswith(url) else trouble.append(one.url))
    page.goto(url)
    return page, trouble


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_asks_for_the_token_and_shows_what_is_known(
    browser: Browser, exported: Exported, served: ServedProcess, width: int
) -> None:
    send(browser, served, exported)
    page, trouble = opened(browser, served.url, width)
    page.fill("#token", "wrong")
    page.click("#ask button")
    page.wait_for_selector("#refused:visible")
    page.fill("#token", "sesame")
    page.click("#ask button")
    page.wait_for_selector("#map circle")
    assert page.locator("#map circle").count() == 5
    assert page.locator("#errors tr").count() == 3
    assert "the student is off by" in page.inner_text("#verdict")
    page.wait_for_selector("#curve path.truth[d^=M]")
    page.locator("#map circle").nth(0).click(force=True)
    page.wait_for_selector("#curve path.ahead[d*=L]")
    page.get_by_label("error at 15 min").check()
    assert page.inner_text("#shown").startswith("Mean absolute error at 15 minutes")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert trouble == []
    page.close()


def send(browser: Browser, served: ServedProcess, exported: Exported) -> None:
    """Send rows with the token; the second time they are known."""
    context = browser.new_context(extra_http_headers={"Authorization": "Bearer sesame"})
    answer = context.request.post(
        f"{served.url}/rows", data=rows(exported.data.truth[:60].numpy(), 0)
    )
    assert answer.ok
    context.close()
