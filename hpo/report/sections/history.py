"""Draw how the error fell over the trials of a sweep."""

from __future__ import annotations

from itertools import accumulate

import plotly.graph_objects as go

from hpo.report import palette
from hpo.report.charts import baseline, count_along, new_figure, settings_lines
from hpo.report.facts import ReportedSweep, ReportFacts
from hpo.report.section import Panel, Section
from hpo.report.wording import metric_name
from hpo.space.objectives import hypervolume_history


def history(facts: ReportFacts) -> Section | None:
    """Draw every finished trial and the best so far, over the number of the trial."""
    if not any(sweep.ranked for sweep in facts.sweeps):
        return None
    figure = new_figure("trial", metric_name(facts.metric, facts.unit))
    last = max(record.trial for sweep in facts.sweeps for record in sweep.records)
    count_along(figure, last)
    for at, sweep in enumerate(facts.sweeps):
        _add_sweep(figure, facts, sweep, at)
    for name in ("repeat_last", "teacher"):
        baseline(figure, facts, name)
    _keep_in_view(figure, facts)
    panel = Panel("history", "Every trial, and the best so far", figure, _summary(facts))
    blocks = (panel, *_hypervolume(facts))
    return Section("Optimisation history", _sentence(facts), blocks)


def _add_sweep(figure: go.Figure, facts: ReportFacts, sweep: ReportedSweep, at: int) -> None:
    color, records = palette.sweep_color(at), sorted(sweep.ranked, key=lambda one: one.trial)
    numbers = [record.trial for record in records]
    errors = [record.metrics[facts.metric] for record in records]
    prefix = f"{sweep.name}, " if facts.several else ""
    figure.add_scatter(
        x=numbers,
        y=errors,
        mode="markers",
        name=f"{prefix}trials",
        legendgroup=sweep.name if facts.several else None,
        showlegend=not facts.several,
        marker={"color": color, "size": 8, "opacity": 0.55, "symbol": palette.sweep_symbol(at)},
        text=[settings_lines(record.settings) for record in records],
        hovertemplate=f"<b>{prefix}trial %{{x}}</b>: %{{y:.3f}}<br>%{{text}}<extra></extra>",
    )
    figure.add_scatter(
        x=numbers,
        y=list(accumulate(errors, min)),
        mode="lines",
        name=sweep.name if facts.several else "best so far",
        legendgroup=sweep.name if facts.several else None,
        line={"color": color, "width": 2.4, "shape": "hv", "dash": palette.sweep_dash(at)},
        hovertemplate=f"<b>{prefix}best so far</b>: %{{y:.3f}}<extra></extra>",
    )


def _keep_in_view(figure: go.Figure, facts: ReportFacts) -> None:
    """Limit the axis, so that a few trials that learned nothing do not flatten the others."""
    errors = sorted(one.metrics[facts.metric] for sweep in facts.sweeps for one in sweep.ranked)
    levels = [errors[0], *facts.baselines.values()]
    highest = max(errors[int(0.9 * (len(errors) - 1))], *levels)
    if errors[-1] > 2 * highest:
        room = 0.06 * (highest - min(levels))
        figure.update_yaxes(range=[min(levels) - room, highest + room])


def _sentence(facts: ReportFacts) -> str:
    found = [(one.ranked[0].metrics[facts.metric], one) for one in facts.sweeps if one.ranked]
    found.sort(key=lambda pair: pair[0])
    if len(found) > 1:
        best = [
            f"{sweep.name} {error:.3f} at trial {sweep.ranked[0].trial}" for error, sweep in found
        ]
        return f"The lowest error of each sweep: {', '.join(best)}."
    error, sweep = found[0]
    first = min(sweep.ranked, key=lambda one: one.trial)
    gain = first.metrics[facts.metric] - error
    return (
        f"{sweep.name} reached its best, {error:.3f}, at trial {sweep.ranked[0].trial}: "
        f"{gain:.3f} below its first finished trial."
    )


def _summary(facts: ReportFacts) -> str:
    return f"Scatter of {metric_name(facts.metric, facts.unit)} by trial. {_sentence(facts)}"


def _hypervolume(facts: ReportFacts) -> list[Panel]:
    """Say which share of the objectives' box is dominated; nothing with one objective."""
    weighed = [
        (at, sweep)
        for at, sweep in enumerate(facts.sweeps)
        if len(sweep.plan.config.objectives) > 1 and sweep.plan.reference
    ]
    figure = new_figure("trial", "dominated share of the objectives", height=320)
    for at, sweep in weighed:
        count_along(figure, max(sweep.state.trials, default=1))
        finished = sweep.state.with_status("finished")
        points = [trial.values(sweep.plan.config.objectives) for trial in finished]
        figure.add_scatter(
            x=[trial.number for trial in finished],
            y=hypervolume_history(points, sweep.plan.reference),
            mode="lines+markers",
            name=sweep.name,
            line={"color": palette.sweep_color(at), "shape": "hv", "dash": palette.sweep_dash(at)},
            hovertemplate="after trial %{x}: %{y:.4f}<extra></extra>",
        )
    title = "Hypervolume, higher is better"
    return [Panel("hypervolume", title, figure, f"Line: {title}.")] if weighed else []
