"""Draw parallel coordinates: all settings of all trials, and what good trials share.

Draws ordinary lines. Plotly's own parallel coordinates, which Optuna uses too, need WebGL, have no
tooltips and do not fit a phone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from hpo.records.trial_records import TrialRecord
from hpo.report import palette
from hpo.report.charts import new_figure, thinned
from hpo.report.facts import ReportedSweep, ReportFacts
from hpo.report.section import Panel, Section
from hpo.report.wording import metric_name, setting_text

Column = tuple[str, Mapping[Any, float]]
"""Title of an axis, and the position of each value on it between 0 and 1."""


def parallel(facts: ReportFacts) -> Section | None:
    """Draw one figure per sweep with at least two finished trials."""
    drawn = [sweep for sweep in facts.sweeps if len(sweep.ranked) > 1]
    if not drawn:
        return None
    panels = tuple(_panel(facts, sweep) for sweep in drawn)
    seen = _sentence(facts, drawn)
    note = "Each line is a finished trial; the stronger it is, the lower its error."
    return Section("Parallel coordinates", seen, panels, note=note)


def _panel(facts: ReportFacts, sweep: ReportedSweep) -> Panel:
    columns = _columns(facts, sweep)
    figure = new_figure("", "", height=400, showlegend=False)
    figure.update_xaxes(
        tickvals=list(range(len(columns))),
        ticktext=[title.replace("_", "<br>") for title, _ in columns],
        tickangle=0,
        range=[-0.35, len(columns) - 0.65],
        ticks="",
        side="top",
        tickfont={"color": palette.INK, "size": 12},
    )
    figure.update_xaxes(title=None)
    figure.update_yaxes(visible=False, range=[-0.1, 1.1])
    _add_scales(figure, columns)
    _add_trials(figure, facts, sweep, columns)
    title = sweep.name if facts.several else "Settings and error of every trial"
    summary = f"Parallel coordinates of {len(sweep.ranked)} trials over {len(columns) - 1} settings"
    width = 82 * len(columns)
    name = f"parallel-{sweep.name}"
    return Panel(name, title, figure, f"{summary} and their error.", least_width=width)


def _columns(facts: ReportFacts, sweep: ReportedSweep) -> list[Column]:
    """Return an axis per setting that varies, and one for the error at the end."""
    columns: list[Column] = []
    for name, parameter in sweep.plan.space.parameters.items():
        values = {record.settings[name] for record in sweep.ranked if name in record.settings}
        if len(values) > 1:
            columns.append((name, _places(values, log=bool(parameter.to_json().get("log")))))
    errors = {record.metrics[facts.metric] for record in sweep.ranked}
    label = metric_name(facts.metric, facts.unit).removeprefix("validation ").replace(", ", "<br>")
    return [*columns, (label, _places(errors, log=False))]


def _places(values: set[Any], log: bool) -> dict[Any, float]:
    if any(isinstance(value, str) for value in values):
        ordered = sorted(values)
        return {value: index / max(1, len(ordered) - 1) for index, value in enumerate(ordered)}
    scale = math.log if log else float
    low, high = scale(min(values)), scale(max(values))
    return {value: (scale(value) - low) / ((high - low) or 1.0) for value in values}


def _add_scales(figure: go.Figure, columns: Sequence[Column]) -> None:
    for at, (_, places) in enumerate(columns):
        figure.add_shape(
            type="line", x0=at, x1=at, y0=0, y1=1, line={"color": palette.FAINT, "width": 1}
        )
        for value, place in _labelled(places):
            figure.add_annotation(
                x=at,
                y=place,
                text=setting_text(value),
                showarrow=False,
                yshift=-12 if place == 0 else 12,
                font={"size": 11.5, "color": palette.MUTED},
            )


def _labelled(places: Mapping[Any, float]) -> list[tuple[Any, float]]:
    """Return all values of a choice, and only the ends of a range."""
    if any(isinstance(value, str) for value in places) or len(places) <= 3:
        return list(places.items())
    return [(value, place) for value, place in places.items() if place in {0.0, 1.0}]


def _add_trials(
    figure: go.Figure, facts: ReportFacts, sweep: ReportedSweep, columns: Sequence[Column]
) -> None:
    groups, ranked = len(palette.ERRORS), thinned(sweep.ranked)
    # The worst first, so that the best are drawn on top.
    for rank, color in reversed(list(enumerate(palette.ERRORS))):
        count = len(ranked)
        some = ranked[rank * count // groups : (rank + 1) * count // groups]
        if some:
            _add_lines(figure, facts, some, columns, {"color": color, "width": 2.6 - 0.35 * rank})


def _add_lines(
    figure: go.Figure,
    facts: ReportFacts,
    records: Sequence[TrialRecord],
    columns: Sequence[Column],
    line: dict[str, Any],
) -> None:
    x: list[int | None] = []
    y: list[float | None] = []
    words: list[str] = []
    for record in records:
        error = record.metrics[facts.metric]
        values = [record.settings.get(name) for name, _ in columns[:-1]] + [error]
        for at, ((title, places), value) in enumerate(zip(columns, values, strict=True)):
            x.append(at)
            y.append(places.get(value))
            name = title.replace("<br>", ", ")
            own = f"{error:.3f}" if at == len(columns) - 1 else setting_text(value)
            words.append(f"<b>trial {record.trial}</b>, error {error:.3f}<br>{name} {own}")
        x.append(None)
        y.append(None)
        words.append("")
    figure.add_scatter(
        x=x,
        y=y,
        text=words,
        mode="lines+markers",
        line=line,
        marker={"size": 5, "color": line["color"]},
        hovertemplate="%{text}<extra></extra>",
    )


def _sentence(facts: ReportFacts, sweeps: Sequence[ReportedSweep]) -> str:
    """Say which choices all of the best quarter of a sweep share."""
    parts = []
    for sweep in sweeps:
        shared = _shared(sweep)
        if shared:
            where = f"{sweep.name}: " if facts.several else ""
            parts.append(where + " and ".join(shared))
    if not parts:
        return "The best quarter of the trials have no single setting in common."
    return f"What the best quarter of the trials have in common: {'; '.join(parts)}."


def _shared(sweep: ReportedSweep) -> list[str]:
    best = sweep.ranked[: max(2, len(sweep.ranked) // 4)]
    shared = []
    for name in sweep.plan.space.parameters:
        values = {record.settings.get(name) for record in best}
        everywhere = {record.settings.get(name) for record in sweep.ranked}
        if len(values) == 1 and len(everywhere) > 1:
            shared.append(f"{name} {setting_text(values.pop())}")
    return shared
