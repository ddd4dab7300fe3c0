"""What tables, figures and files show of facts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import ConfigError, StorageError
from core.preprocessing.prepare import PreparedData
from hpo.report import palette
from hpo.report.paper import paper_datasets
from hpo.report.section import Table
from hpo.reproduction.facts import ReproductionFacts
from hpo.reproduction.pages.markdown import markdown
from hpo.reproduction.pages.result import make_result
from hpo.reproduction.pages.sections import table_section
from hpo.reproduction.pages.writing import check_out, write_result
from hpo.reproduction.tables import TABLES
from tests.reproduction_facts import facts_of, found_row, noisy

NAMES = ("none", "rd_l2", "rd_kl", "ord")


@pytest.fixture(scope="module")
def facts(prepared: PreparedData) -> ReproductionFacts:
    rows = [
        found_row(prepared, name, noisy(2.0 + at / 10, at), share=0.02)
        for at, name in enumerate(NAMES)
    ]
    tables = [TABLES[name] for name in ("1", "2", "3", "6")]
    return facts_of(prepared, tables, rows, paper_datasets()["pemsd7"])


def tables_of(facts: ReproductionFacts, name: str) -> list[Table]:
    blocks = table_section(facts, TABLES[name], None).blocks
    return [block for block in blocks if isinstance(block, Table)]


def test_errors_stand_beside_the_papers(facts: ReproductionFacts) -> None:
    claims, mae, mape, _ = tables_of(facts, "2")
    row = next(cells for cells in mae.rows if cells[0] == "ORD")
    errors = facts.rows["ord"].errors("mae_15")
    shown = dict(zip(mae.headings[:4], row[:4], strict=True))
    assert shown["15 min"].startswith(f"{sum(errors) / 5:.3f} ± ")
    assert row[4] == "2.762"  # Table 2, ORD, PeMSD7, MAE at 15 minutes
    assert next(cells for cells in mape.rows if cells[0] == "ORD")[-1] == "12.104"
    assert {cells[0] for cells in mae.rows} >= {"teacher", "repeating the last reading"}
    assert [cells[1] for cells in claims.rows] == ["refuted"] * 3


def test_shares_and_settings_are_those_of_the_runs(facts: ReproductionFacts) -> None:
    (shares,) = tables_of(facts, "3")
    assert shares.rows[0] == ("ORD", "5", "2.000 ± 0.000", "3.009")
    assert shares.rows[1][2] == "not run yet"
    (settings,) = tables_of(facts, "6")
    paper = next(cells for cells in settings.rows if cells[0] == "SKD, paper")
    assert dict(zip(settings.headings, paper, strict=True))["batch_size"] == "16"


def test_data_that_the_paper_does_not_know_has_no_column_of_it(facts: ReproductionFacts) -> None:
    own = replace(facts, plan=replace(facts.plan, paper=None))
    assert all("paper" not in one.headings for one in tables_of(own, "2")[1:])


def test_every_table_has_its_row_of_cells(facts: ReproductionFacts) -> None:
    for name in ("2", "3", "4", "5", "6", "7", "8", "9"):
        for table in tables_of(facts, name):
            assert {len(row) for row in table.rows} == {len(table.headings)}


def test_files_hold_the_same_numbers(
    facts: ReproductionFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.reproduction.pages.writing.has_browser", lambda: False)
    result = make_result(facts, "hpo reproduce 2 --dataset small")
    page, text = tmp_path / "r.html", tmp_path / "r.md"
    assert write_result(result, page) == [page]
    assert write_result(result, text) == [text]
    told = text.read_text()
    for cell in tables_of(facts, "2")[1].rows[1]:
        assert cell in told
        assert cell in page.read_text()
    assert "hpo reproduce 2 --dataset small" in told
    assert "![" not in told
    assert "seconds" in told
    assert "chart-claims-2" in page.read_text()
    for table in facts.plan.tables:
        assert f"## Table {table.name}: " in told


def test_figures_use_colours_that_have_dark_counterparts(facts: ReproductionFacts) -> None:
    from hpo.reproduction.pages.figures import table_panels

    result = make_result(facts, "hpo reproduce all")
    for table in facts.plan.tables:
        judged = result.verdicts.get(table.name, [])
        for panel in table_panels(facts, table, judged, result.sizes):
            for trace in panel.figure.data:
                colors = {trace.marker.color, trace.line.color} - {None}
                assert colors <= {*palette.DARK}


def test_errors_of_figures_are_those_of_the_rows(facts: ReproductionFacts) -> None:
    from hpo.reproduction.pages.figures import table_panels

    (panel,) = table_panels(facts, TABLES["2"], [], None)
    mean = next(trace for trace in panel.figure.data if trace.name == "mean, 95 %")
    assert list(mean.y) == ["student without KD", "RD (L2)", "RD (KL)", "ORD"]
    assert list(mean.x) == pytest.approx([facts.rows[name].mean("mae") for name in NAMES])
    assert all(width > 0 for width in mean.error_x.array)


def test_bars_in_cells_do_not_break_a_table() -> None:
    from hpo.report.section import Commands, Section

    table = Table(("a|b", "n"), (("x|y", "1"),), "T", (1,))
    told = markdown("M", {"one": Section("S", "seen", (table, Commands(("hpo x",))))}, None)
    assert "| a\\|b | n |\n| --- | ---: |\n| x\\|y | 1 |" in told
    assert "```\nhpo x\n```" in told


def test_files_that_cannot_be_written_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end with \.md or \.html"):
        check_out(tmp_path / "r.txt")
    (tmp_path / "r.md").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        check_out(tmp_path / "r.md")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="must be writable"):
        check_out(tmp_path / "file" / "r.md")
