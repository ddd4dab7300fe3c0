"""Draw error against size: the Pareto front of students, the teacher and the paper's results."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from hpo.records.confirmation import Confirmed
from hpo.records.trial_records import TrialRecord
from hpo.report import palette
from hpo.report.charts import baseline, new_figure
from hpo.report.facts import ReportedSweep, ReportFacts
from hpo.report.section import Panel, Section
from hpo.report.wording import metric_name
from hpo.space.objectives import LATENCY, pareto_front

_SIZES = {
    "parameters": ("Parameters", "parameters", "parameters"),
    "flops": ("Arithmetic", "FLOPs of one pass over one window", "FLOPs"),
    LATENCY: ("Time", "milliseconds of one forecast of one window, one thread", "ms"),
}
"""Title, axis and unit."""


def pareto(facts: ReportFacts) -> Section | None:
    """Draw all finished students by size and error, with the front and the reference points."""
    records = [record for sweep in facts.sweeps for record in sweep.ranked]
    if not records:
        return None
    known = [size for size in _SIZES if any(getattr(one, size) is not None for one in records)]
    panels = tuple(_panel(facts, records, size) for size in known)
    note = (
        "The machine that searched timed the students, the one that made this page the teacher. "
        if LATENCY in known
        else "No sweep here asked for latency (`--objective val_mae,latency_ms`). "
    )
    if facts.paper:
        note += (
            "The paper's errors are of its own test days and ours of validation days, so only the "
            "order of magnitude compares; its FLOPs are of an unknown batch and are not shown. "
        )
    return Section("Error against size", _sentence(facts, records), panels, note=note.strip())


def _panel(facts: ReportFacts, records: Sequence[TrialRecord], size: str) -> Panel:
    title, axis, _ = _SIZES[size]
    records = _that_know(records, size)
    figure = new_figure(axis, metric_name(facts.metric, facts.unit), height=440)
    figure.update_xaxes(type="log", dtick="D2", tickformat="~s")
    figure.update_xaxes(showgrid=True)
    for at, sweep in enumerate(facts.sweeps):
        _add_sweep(figure, facts, sweep, at, size)
    baseline(figure, facts, "repeat_last")
    _add_front(figure, facts, _worth_it(facts, records), size)
    _add_fixed_student(figure, facts, size)
    _add_teacher(figure, facts, size)
    if size == "parameters":
        _add_paper(figure, facts)
    summary = f"Scatter of {metric_name(facts.metric, facts.unit)} by {axis}."
    return Panel(
        f"pareto-{size}",
        title,
        figure,
        f"{summary} {_sentence(facts, records)}",
    )


def _add_sweep(
    figure: go.Figure, facts: ReportFacts, sweep: ReportedSweep, at: int, size: str
) -> None:
    color, records = palette.sweep_color(at), _that_know(sweep.ranked, size)
    if not records:
        return
    figure.add_scatter(
        x=[getattr(record, size) for record in records],
        y=[record.metrics[facts.metric] for record in records],
        customdata=[record.trial for record in records],
        mode="markers",
        name=sweep.name,
        marker={"color": color, "size": 8, "opacity": 0.5, "symbol": palette.sweep_symbol(at)},
        hovertemplate=f"<b>{sweep.name}, trial %{{customdata}}</b><br>{_words(size)}"
        "<extra></extra>",
    )
    confirmed = [one for one in sweep.confirmed if one.finished and one.trial in records]
    if confirmed:
        figure.add_scatter(
            # Runs on fresh seeds are of a shape that was timed in the sweep.
            x=[getattr(one.finished[0], size) or getattr(one.trial, size) for one in confirmed],
            y=[one.mean for one in confirmed],
            customdata=[[one.trial.trial, len(one.finished)] for one in confirmed],
            error_y={"array": [_half_interval(one) for one in confirmed], "thickness": 1.5},
            mode="markers",
            name=f"{sweep.name}, mean of fresh seeds",
            marker={"color": color, "size": 11, "symbol": "diamond"},
            hovertemplate=f"<b>{sweep.name}, trial %{{customdata[0]}}</b>, mean of "
            f"%{{customdata[1]}} fresh seeds<br>{_words(size)}<extra></extra>",
        )


def _half_interval(one: Confirmed) -> float:
    """Return how far the 95 % interval of the mean reaches; 0 of a single run."""
    return 0.0 if one.interval is None else one.interval[1] - one.mean


def _words(size: str) -> str:
    return f"%{{y:.3f}} at %{{x:{'.3f' if size == LATENCY else ','}}} {_SIZES[size][2]}"


def _that_know(records: Sequence[TrialRecord], size: str) -> list[TrialRecord]:
    return [record for record in records if getattr(record, size) is not None]


def _worth_it(facts: ReportFacts, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Leave out what repeating the last reading, which costs nothing, does as well."""
    limit = facts.baselines.get("repeat_last", math.inf)
    return [record for record in records if record.metrics[facts.metric] < limit]


def _add_front(
    figure: go.Figure, facts: ReportFacts, records: Sequence[TrialRecord], size: str
) -> None:
    if not records:
        return
    points = [(float(getattr(one, size)), one.metrics[facts.metric]) for one in records]
    front = [points[index] for index in pareto_front(points)]
    sizes, errors = zip(*front, strict=True)
    figure.add_scatter(
        x=sizes,
        y=errors,
        mode="lines+markers",
        name="front",
        line={"color": palette.INK, "width": 1.4, "shape": "hv"},
        marker={"symbol": "circle-open", "size": 14, "line": {"width": 1.6}},
        hovertemplate="<b>on the front</b>: " + _words(size) + "<extra></extra>",
    )


def _add_fixed_student(figure: go.Figure, facts: ReportFacts, size: str) -> None:
    fixed = facts.fixed_student
    if fixed is not None and _that_know([fixed], size):
        figure.add_scatter(
            x=[getattr(fixed, size)],
            y=[fixed.metrics[facts.metric]],
            mode="markers",
            name="best fixed student (Table 1's widths)",
            marker={
                "color": palette.INK,
                "size": 12,
                "symbol": "square-open",
                "line": {"width": 2},
            },
            hovertemplate=f"<b>best fixed student</b>, trial {fixed.trial} of {fixed.sweep}<br>"
            f"{_words(size)}<extra></extra>",
        )


def _add_teacher(figure: go.Figure, facts: ReportFacts, size: str) -> None:
    error = facts.baselines.get("teacher")
    if error is not None and size in facts.teacher_sizes:
        figure.add_scatter(
            x=[facts.teacher_sizes[size]],
            y=[error],
            mode="markers",
            name="teacher",
            marker={"color": palette.TEACHER, "size": 15, "symbol": "star"},
            hovertemplate=f"<b>teacher</b><br>{_words(size)}<extra></extra>",
        )


def _add_paper(figure: go.Figure, facts: ReportFacts) -> None:
    # The legend shows the first point's symbol: a student's.
    paper = sorted(facts.paper, key=lambda one: one.kind == "teacher")
    if paper:
        figure.add_scatter(
            x=[one.parameters for one in paper],
            y=[one.error(facts.metric) for one in paper],
            text=[one.label for one in paper],
            mode="markers",
            name="paper, other days",
            marker={
                "color": palette.PAPER,
                "size": [13 if one.kind == "teacher" else 9 for one in paper],
                "symbol": [
                    "star-open" if one.kind == "teacher" else "diamond-open" for one in paper
                ],
                "line": {"width": 1.6},
            },
            hovertemplate=f"<b>paper: %{{text}}</b><br>{_words('parameters')}<extra></extra>",
        )


def _sentence(facts: ReportFacts, records: Sequence[TrialRecord]) -> str:
    worth = _worth_it(facts, records)
    if not worth:
        return "No student is better than repeating the last reading, so none is on the front."
    points = [(float(one.parameters), one.metrics[facts.metric]) for one in worth]
    front = {points[index] for index in pareto_front(points)}
    if len(front) == 1:
        size, error = next(iter(front))
        if len({one.parameters for one in records}) > 1:
            return f"The best student, {error:.3f}, is also the smallest: {size:,.0f} parameters."
        times = _times(facts, size)
        return f"All students have {size:,.0f} parameters, so only their error differs{times}."
    smallest, largest = min(front), max(front)
    return (
        f"{len(front)} sizes are on the front: from {smallest[1]:.3f} at {smallest[0]:,.0f} to "
        f"{largest[1]:.3f} at {largest[0]:,.0f} parameters."
    )


def _times(facts: ReportFacts, size: float) -> str:
    if not facts.teacher_sizes:
        return ""
    return f"; the teacher has {facts.teacher_sizes['parameters'] / size:.0f} times as many"
