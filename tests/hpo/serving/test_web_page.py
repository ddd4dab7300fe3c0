"""The page of an export in a real Chromium, opened from its folder: numbers, files, mistakes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from choreographer.browsers import Chromium
from playwright.sync_api import Browser, Page, sync_playwright

from core.errors import ConfigError, ExportError
from hpo.serving import web_runtime
from hpo.serving.web_page import write_web_page
from hpo.serving.web_runtime import find_runtime
from tests.small_exports import Exported


@pytest.fixture(scope="module")
def written(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page; the runtime comes from npm's registry, or from the cache of an earlier run."""
    try:
        runtime = find_runtime()
    except ExportError as error:
        pytest.skip(f"no ONNX Runtime for browsers: {error}")
    return write_web_page(exported.folder, exported.dataset.readings, runtime)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = Chromium.find_browser(skip_local=False)
    if path is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


def opened(browser: Browser, page: Path, width: int) -> tuple[Page, list[str]]:
    tab, trouble = browser.new_page(viewport={"width": width, "height": 900}), list[str]()
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    local = ("file:", "data:", "blob:")
    tab.on("request", lambda one: None if one.url.startswith(local) else trouble.append(one.url))
    tab.goto(page.as_uri())
    tab.wait_for_selector("#map circle")
    return tab, trouble


def wanted(exported: Exported, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(exported.folder / "model.onnx")
    found: Any = session.run(["forecast"], {"readings": rows[None].astype(np.float32)})
    return np.asarray(found[0][0])


def shown(tab: Page) -> np.ndarray:
    values = tab.evaluate("async () => (await answerLocally('sensors')).forecast")
    return np.array(values, dtype=np.float64)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("width", [1280, 390])
def test_it_forecasts_what_the_student_does_and_loads_nothing(
    browser: Browser, exported: Exported, written: Path, width: int
) -> None:
    tab, trouble = opened(browser, written, width)
    assert tab.locator("#map circle").count() == 5
    assert tab.locator("#errors tr").count() == 3
    last = exported.dataset.readings[-12:]
    np.testing.assert_allclose(shown(tab), wanted(exported, last), rtol=0, atol=1e-4)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert trouble == []


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_file_of_readings_is_forecast_and_a_wrong_one_is_one_line(
    browser: Browser, exported: Exported, written: Path, tmp_path: Path
) -> None:
    tab, trouble = opened(browser, written, 1280)
    rows = exported.dataset.readings[100:130].copy()
    rows[-1, 2] = np.nan
    ids = [*exported.dataset.card.sensor_ids]
    lines = [
        ",".join([f"2026-03-02T{at // 4:02d}:{15 * (at % 4):02d}", *map(str, row)])
        for at, row in enumerate(rows)
    ]
    good = tmp_path / "good.csv"
    good.write_text("\n".join([",".join(["time", *ids]), *lines]).replace("nan", ""))
    tab.set_input_files("#file", good)
    tab.wait_for_function("document.getElementById('about').textContent.includes('30 rows')")
    np.testing.assert_allclose(shown(tab), wanted(exported, rows[-12:]), rtol=0, atol=1e-4)
    mistakes = {
        "1,2,3\n4,5,6\n": "a column for each of 5 sensors, but its first line has 3",
        "\n".join([",".join(ids), *["1,2,3,4,5"] * 3]): "at least 12 rows, but the file has 3",
        "\n".join([",".join(ids), *["1,2,x,4,5"] * 12]): 'row 1, sensor south is "x"',
    }
    for at, (content, said) in enumerate(mistakes.items()):
        wrong = tmp_path / f"wrong{at}.csv"
        wrong.write_text(content)
        tab.set_input_files("#file", wrong)
        tab.wait_for_selector("#mistake:visible")
        tab.wait_for_function(
            "said => document.getElementById('mistake').textContent.includes(said)", arg=said
        )
    assert trouble == []


def test_a_runtime_that_is_another_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "onnxruntime-web-1.30.0.tgz"
    other.write_bytes(b"something else")
    with pytest.raises(ConfigError, match=r"as it was published, but .* is another file"):
        find_runtime(other)
    with pytest.raises(ConfigError, match="must be a file, but"):
        find_runtime(tmp_path / "nothing.tgz")


def test_without_npm_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HPO_CACHE", str(tmp_path))
    monkeypatch.setattr(web_runtime.shutil, "which", lambda _: None)
    with pytest.raises(ExportError, match=r"needs npm .* give the file by --web-runtime"):
        find_runtime()


def test_without_a_network_nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(1, "npm")

    monkeypatch.setenv("HPO_CACHE", str(tmp_path))
    monkeypatch.setattr(web_runtime.shutil, "which", lambda _: "/usr/bin/npm")
    monkeypatch.setattr(web_runtime.subprocess, "run", fail)
    with pytest.raises(ExportError, match="npm did not fetch it"):
        find_runtime()
    assert list(tmp_path.iterdir()) == []
