"""Draw what was found: errors of rows with their intervals, claims, shares, times, forecasts.

A figure stands beside the table that holds its numbers. Judges nothing and writes no file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import plotly.graph_objects as go
import torch

from core.checkpoint import load_model
from core.ensemble import Network
from core.evaluation.error_breakdown import judge
from hpo.records.trial_files import download_student
from hpo.report import palette
from hpo.report.charts import new_figure
from hpo.report.facts import EvaluatedNetwork, Evaluation, Role
from hpo.report.section import Panel, Section
from hpo.report.sections.forecasts import one_day
from hpo.report.wording import with_unit
from hpo.reproduction.contenders import REFERENCES
from hpo.reproduction.facts import FoundRow, ReproductionFacts
from hpo.reproduction.pages.sections import label
from hpo.reproduction.sizes import WINDOWS, Sizes
from hpo.reproduction.statistics import Interval, mean_interval
from hpo.reproduction.tables import Kind, PaperTable
from hpo.reproduction.verdicts import METRIC, Verdict

_ROW = 34
"""Pixels of a row."""
_LEAST_WIDTH = 560
"""Names of rows and claims are long."""


def table_panels(
    facts: ReproductionFacts,
    table: PaperTable,
    judged: Sequence[Verdict],
    sizes: Sizes | None,
) -> list[Panel]:
    """Return the figures of one table; none where nothing of it was found."""
    if table.kind == "sizes":
        return [] if sizes is None else [_times(sizes)]
    draw = _DRAWN.get(table.kind)
    panels = [] if draw is None else draw(facts, table)
    tested = [one for one in judged if one.over_seeds is not None]
    return [*([_claims(facts, table, tested)] if tested else []), *panels]


def _claims(facts: ReproductionFacts, table: PaperTable, judged: Sequence[Verdict]) -> Panel:
    title = with_unit("difference; below zero: the claim holds", facts.unit)
    figure = _by_row(title, len(judged))
    names = [one.claim.text for one in judged]
    seeds = [one.over_seeds.interval for one in judged if one.over_seeds is not None]
    _add_intervals(figure, names, seeds, "95 % over seeds", palette.SWEEPS[0], "circle")
    days = [(name, one.over_days) for name, one in zip(names, judged, strict=True)]
    known = [(name, interval) for name, interval in days if interval is not None]
    if known:
        found = [interval for _, interval in known]
        at = [name for name, _ in known]
        _add_intervals(figure, at, found, "95 % over test days", palette.SWEEPS[1], "square")
    figure.add_vline(x=0, line={"color": palette.MUTED, "width": 1})
    summary = f"Differences of {len(judged)} claims of Table {table.name} with their intervals."
    return Panel(f"claims-{table.name}", "Claims", figure, summary, least_width=_LEAST_WIDTH)


def _errors(facts: ReproductionFacts, table: PaperTable) -> list[Panel]:
    rows = [facts.rows[name] for name in table.rows if name in facts.rows]
    if not rows:
        return []
    figure = _by_row(with_unit("test MAE, mean of 15, 30 and 45 minutes", facts.unit), len(rows))
    names = [row.part.contender.label for row in rows]
    singles = [
        (name, error) for name, row in zip(names, rows, strict=True) for error in row.errors(METRIC)
    ]
    figure.add_scatter(
        x=[error for _, error in singles],
        y=[name for name, _ in singles],
        mode="markers",
        name="each seed",
        marker={"color": palette.FAINT, "size": 7},
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    intervals = [mean_interval(row.errors(METRIC)) for row in rows]
    _add_intervals(figure, names, intervals, "mean, 95 %", palette.SWEEPS[0], "circle")
    _add_paper(figure, facts, rows)
    for name in ("teacher", "base", "repeat_last"):
        if name in facts.references and name in table.rows:
            _add_level(figure, name, facts.references[name].summary()[METRIC])
    summary = f"Test errors of the {len(rows)} rows of Table {table.name} with their intervals."
    return [Panel(f"errors-{table.name}", "Test errors", figure, summary, least_width=_LEAST_WIDTH)]


def _add_paper(figure: go.Figure, facts: ReproductionFacts, rows: Sequence[FoundRow]) -> None:
    if facts.plan.paper is None:
        return
    figure.add_scatter(
        x=[facts.plan.paper.rows[row.part.contender.name].error(METRIC) for row in rows],
        y=[row.part.contender.label for row in rows],
        mode="markers",
        name="paper, other days",
        marker={"color": palette.PAPER, "size": 9, "symbol": "diamond-open"},
        hovertemplate="paper, %{y}: %{x:.3f}<extra></extra>",
    )


def _add_level(figure: go.Figure, name: str, level: float) -> None:
    color = palette.REPEAT_LAST if name == "repeat_last" else palette.TEACHER
    line = {"color": color, "width": 1.5, "dash": "dash" if name == "base" else "dot"}
    figure.add_vline(x=level, line=line)
    # A line of the layout has no legend.
    shown = f"{REFERENCES[name]}, {level:.2f}"
    figure.add_scatter(x=[None], y=[None], mode="lines", name=shown, line=line)


def _shares(facts: ReproductionFacts, table: PaperTable) -> list[Panel]:
    rows = [facts.rows[name] for name in table.rows if name in facts.rows]
    known = [row for row in rows if row.teacher_share]
    if not known:
        return []
    figure = _by_row("entries that took the teacher's prediction, %", len(known))
    names = [row.part.contender.label for row in known]
    found = [mean_interval([100 * share for share in row.teacher_share]) for row in known]
    _add_intervals(figure, names, found, "mean, 95 %", palette.SWEEPS[0], "circle")
    if facts.plan.paper is not None:
        shares = facts.plan.paper.teacher_share
        figure.add_scatter(
            x=[shares[row.part.contender.name] for row in known],
            y=names,
            mode="markers",
            name="paper",
            marker={"color": palette.PAPER, "size": 9, "symbol": "diamond-open"},
            hovertemplate="paper, %{y}: %{x:.3f} %<extra></extra>",
        )
    summary = f"Shares of {len(known)} rows of Table {table.name} with their intervals."
    return [Panel(f"shares-{table.name}", "Share of the teacher", figure, summary)]


def _times(sizes: Sizes) -> Panel:
    names = ["student" if name == "none" else label(name) for name in sizes.shapes]
    found = [sizes.timing.quantiles(at) for at in range(len(names))]
    spans = [Interval(one["p50"] / 1e3, one["p10"] / 1e3, one["p90"] / 1e3) for one in found]
    figure = _by_row(f"seconds of {WINDOWS:,} windows", len(names))
    words = "median, 10 to 90 % of the passes"
    _add_intervals(figure, names, spans, words, palette.SWEEPS[0], "circle")
    summary = f"Seconds of a pass of {len(names)} networks."
    return Panel("times-1", "Times", figure, summary)


def _by_row(title: str, rows: int) -> go.Figure:
    figure = new_figure(title, "", height=110 + _ROW * max(2, rows))
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(showgrid=True)
    return figure


def _add_intervals(
    figure: go.Figure,
    names: Sequence[str],
    found: Sequence[Interval],
    words: str,
    color: str,
    symbol: str,
) -> None:
    bars: dict[str, Any] = {
        "type": "data",
        "symmetric": False,
        "array": [one.high - one.mean for one in found],
        "arrayminus": [one.mean - one.low for one in found],
        "color": color,
        "thickness": 1.6,
    }
    figure.add_scatter(
        x=[one.mean for one in found],
        y=list(names),
        customdata=[(one.low, one.high) for one in found],
        mode="markers",
        name=words,
        error_x=bars,
        marker={"color": color, "size": 9, "symbol": symbol},
        hovertemplate="%{y}: %{x:.3f}, %{customdata[0]:.3f} to %{customdata[1]:.3f}<extra></extra>",
    )


_DRAWN: Final[dict[Kind, Callable[[ReproductionFacts, PaperTable], list[Panel]]]] = {
    "errors": _errors,
    "shares": _shares,
}


def forecast_section(facts: ReproductionFacts, table: PaperTable) -> Section | None:
    """Return the paper's Figures 3 to 5: a day of three sensors; None without a student.

    The students are the first seeds' of each row, judged on the test days before.
    """
    rows = [facts.rows[name] for name in reversed(table.rows) if name in facts.rows]
    if not rows:
        return None
    networks = [_student(facts, at, row) for at, row in enumerate(rows)]
    if facts.teacher is not None:
        teacher = facts.teacher.load(facts.plan.data)
        networks.append(_evaluated(facts, teacher, "teacher", None, REFERENCES["teacher"]))
    none = torch.zeros(0, dtype=torch.long)
    seen, panels = one_day(Evaluation("test", facts.plan.data, networks, none))
    note = "Students of the first seed; their errors stand in the tables above."
    return Section(table.title, seen, panels, note)


def _student(facts: ReproductionFacts, at: int, row: FoundRow) -> EvaluatedNetwork:
    home, run = row.part.home, row.runs[0]
    download_student(home, run.trial)
    model, _ = load_model(home.student(run.trial), facts.plan.data.graph_kernel)
    return _evaluated(facts, model, "student", at, row.part.contender.label)


def _evaluated(
    facts: ReproductionFacts, model: Network, role: Role, at: int | None, name: str
) -> EvaluatedNetwork:
    judged = judge(model, facts.plan.data, "test")
    return EvaluatedNetwork(role, at, name, judged, hidden=None, covered=None)
