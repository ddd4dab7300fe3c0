"""``hpo report``: where the page goes, what it holds, and what is refused."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from choreographer.browsers import Chromium
from plotly.offline import get_plotlyjs

from hpo.cli.main import run
from hpo.report.building import write_report
from hpo.report.charts import new_figure
from hpo.report.figure_files import check_browser, write_figures
from hpo.report.page import page
from hpo.report.section import Panel, Section, Table
from hpo.report.sections import SECTIONS
from tests.report_sweeps import REASON, Storage, make_storage
from tests.small_sweeps import make_students

Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    made = make_storage(tmp_path_factory.mktemp("report"))
    make_students(made.sweep("first", "ord", [4.0, 3.5, "failed"]), made.data, [0, 1])
    make_students(made.sweep("second", "none", [4.0]), made.data, [0])
    return made


def report(storage: Storage, *arguments: object) -> int:
    return run(["report", *map(str, arguments), "--storage", str(storage.path)])


def test_the_page_lies_in_the_sweeps_folder(storage: Storage, capsys: Output) -> None:
    assert report(storage, "first") == 0
    path = storage.path / "first" / "report.html"
    assert capsys.readouterr().out.strip() == str(path)
    text = path.read_text()
    assert text.count(get_plotlyjs()) == 1
    own = text.replace(get_plotlyjs(), "")
    assert "<title>Sweep first</title>" in own
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']*|@import|url\(""", own)
    assert REASON not in own
    assert "&lt;b&gt;not finite&lt;/b&gt;" in own


def test_all_stages_are_told_before_they_begin(storage: Storage, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    given = (["first", "second"], storage.path, tmp_path / "page.html")
    write_report(*given, on_stage=lambda *stage: told.append(stage))
    names = [name for name, _, _ in told]
    assert names[:2] == [
        "forecasting with the student of first",
        "forecasting with the student of second",
    ]
    assert names[-len(SECTIONS) :] == [f"drawing {anchor}" for anchor in SECTIONS]
    assert [(done, total) for _, done, total in told] == [
        (at, len(told)) for at in range(len(told))
    ]


def test_facts_are_what_the_page_begins_with(storage: Storage, capsys: Output) -> None:
    before = {path: path.stat().st_mtime_ns for path in storage.path.rglob("*")}
    assert report(storage, "first", "second", "--facts") == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert err == ""
    assert "trial 1 of first, has a " in answer["seen"]
    assert answer["numbers"]
    sweeps = answer["tables"][0]
    assert [row[0] for row in sweeps["rows"]][:2] == ["first (ord)", "second (none)"]
    assert all(len(row) == len(sweeps["headings"]) for row in sweeps["rows"])
    assert {path: path.stat().st_mtime_ns for path in storage.path.rglob("*")} == before


def test_several_sweeps_are_compared_where_asked(
    storage: Storage, tmp_path: Path, capsys: Output
) -> None:
    out = tmp_path / "pages" / "both.html"
    assert report(storage, "first", "second", "--out", out, "--format", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["page"] == str(out)
    assert answer["bytes"] == out.stat().st_size
    assert answer["figures"] == []
    assert {"result", "errors", "hidden"} <= set(answer["sections"])
    assert "Sweeps first, second" in out.read_text()
    assert not (storage.path / "first" / "comparison.html").exists()


def test_mistakes_give_one_line(storage: Storage, tmp_path: Path, capsys: Output) -> None:
    assert report(storage, "frist", "--out", tmp_path / "page.html") == 2
    error = capsys.readouterr().err
    assert error.startswith("hpo: unknown sweep 'frist'; did you mean 'first'?")
    assert error.count("\n") == 1
    assert not (tmp_path / "page.html").exists()
    (tmp_path / "file").write_text("")
    assert report(storage, "first", "--out", tmp_path / "file" / "page.html") == 2
    assert "must be writable" in capsys.readouterr().err
    assert report(storage, "first", "--out", tmp_path) == 2
    line = f"hpo: {tmp_path} must be a file or nothing yet, but is a folder; name a file\n"
    assert capsys.readouterr().err == line


def test_a_link_is_written_through(storage: Storage, tmp_path: Path) -> None:
    link, page = tmp_path / "link.html", tmp_path / "page.html"
    link.symlink_to(page)
    assert report(storage, "first", "--out", link) == 0
    assert link.is_symlink()
    assert page.read_text(encoding="utf-8").startswith("<!")


def test_figures_need_a_browser_before_anything_is_written(
    storage: Storage, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Chromium, "find_browser", lambda **_: None)
    out, figures = tmp_path / "page.html", tmp_path / "figures"
    assert report(storage, "first", "--out", out, "--figures", figures) == 2
    assert "--figures needs Chromium or Chrome to draw, but none" in capsys.readouterr().err
    assert not out.exists()
    assert not figures.exists()


def test_without_its_packages_one_line_says_what_to_install(
    storage: Storage, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    assert report(storage, "first") == 2
    error = capsys.readouterr().err
    assert "hpo report needs plotly, which this environment lacks" in error
    assert "extra [report]" in error


def test_names_in_a_page_are_text() -> None:
    table = Table(("name",), (("<script>alert(1)</script>",),))
    text = page("<i>title</i>", "now", {"one": Section("<b>", "<u>seen</u>", (table,))})
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "&lt;u&gt;seen" in text


def test_a_browser_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chromium, "find_browser", lambda **_: "/opt/chrome")
    check_browser()


@pytest.mark.slow
def test_figures_are_written_as_files(tmp_path: Path) -> None:
    if Chromium.find_browser(skip_local=False) is None:
        pytest.skip("no Chromium or Chrome on this machine")
    (tmp_path / "mine.txt").write_text("kept")
    figure = new_figure("minutes ahead", "MAE, mph").add_scatter(x=[1, 2], y=[3, 4], name="student")
    files = write_figures([Panel("errors", "Errors", figure, "Two points.")], tmp_path)
    assert files == [tmp_path / "errors.png", tmp_path / "errors.svg"]
    assert files[0].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "MAE, mph" in files[1].read_text()
    assert (tmp_path / "mine.txt").read_text() == "kept"
