"""Draw the learning curves of all trials, and which trials were stopped early."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from hpo.records.sweep_state import Trial
from hpo.report import palette
from hpo.report.charts import baseline, count_along, new_figure, thinned
from hpo.report.facts import ReportedSweep, ReportFacts
from hpo.report.section import Panel, Section
from hpo.report.wording import metric_name

_MARKS = {
    "pruned": ("stopped early", "x-thin-open"),
    "failed": ("failed", "cross-thin-open"),
    "running": ("still running", "circle-open"),
}
"""Status -> label and symbol of the mark at the end of a curve."""


def learning(facts: ReportFacts) -> Section | None:
    """Draw one figure per sweep: faint curves, the best one bold, marks where others ended."""
    drawn = [(at, one) for at, one in enumerate(facts.sweeps) if _curves(facts, one)]
    if not drawn:
        return None
    panels = [_panel(facts, sweep, at) for at, sweep in drawn]
    return Section("Learning curves", _sentence(facts), tuple(panels))


def _curves(facts: ReportFacts, sweep: ReportedSweep) -> list[Trial]:
    return [
        trial
        for trial in sweep.state.trials.values()
        if any(facts.metric in metrics for metrics in trial.history.values())
    ]


def _panel(facts: ReportFacts, sweep: ReportedSweep, at: int) -> Panel:
    figure = new_figure("epoch", metric_name(facts.metric, facts.unit))
    trials, color = _curves(facts, sweep), palette.sweep_color(at)
    errors = [error for trial in trials for _, error in _points(facts, trial)]
    last = max(max(trial.history) for trial in trials)
    count_along(figure, last, first=1)
    lowest, highest = min([*errors, *facts.baselines.values()]), max(errors)
    # Every digit has a line, unless that would be too many.
    figure.update_yaxes(
        type="log",
        dtick="D1" if highest < 8 * lowest else "D2",
        tickformat=".3~g",
        range=[math.log10(0.97 * lowest), math.log10(1.03 * highest)],
    )
    best = sweep.best.trial if sweep.best is not None else None
    others = [trial for trial in trials if trial.number != best]
    drawn = thinned(others)
    words = "other trials" if len(drawn) == len(others) else f"{len(drawn)} of {len(others)} others"
    _add_curves(figure, facts, drawn, words, {"color": palette.FAINT, "width": 1.2})
    chosen = [trial for trial in trials if trial.number == best]
    _add_curves(figure, facts, chosen, f"best, trial {best}", {"color": color, "width": 2.6})
    for status, (words, symbol) in _MARKS.items():
        _add_ends(figure, facts, [one for one in trials if one.status == status], words, symbol)
    for name in ("repeat_last", "teacher"):
        baseline(figure, facts, name)
    title = sweep.name if facts.several else "Validation error after every epoch"
    summary = f"Learning curves of {len(trials)} trials of {sweep.name}; the best is trial {best}."
    return Panel(f"learning-{sweep.name}", title, figure, summary, half=facts.several)


def _add_curves(
    figure: go.Figure,
    facts: ReportFacts,
    trials: Sequence[Trial],
    name: str,
    line: dict[str, object],
) -> None:
    # One trace for all: a figure of a thousand traces is slow, and None breaks the line.
    points: list[tuple[int | None, float | None, int | None]] = []
    for trial in trials:
        points += [(*point, trial.number) for point in _points(facts, trial)]
        points.append((None, None, None))
    if trials:
        epochs, errors, numbers = zip(*points, strict=True)
        figure.add_scatter(
            x=epochs,
            y=errors,
            customdata=numbers,
            mode="lines",
            name=name,
            line=line,
            hovertemplate="<b>trial %{customdata}</b>, epoch %{x}: %{y:.3f}<extra></extra>",
        )


def _add_ends(
    figure: go.Figure, facts: ReportFacts, trials: Sequence[Trial], words: str, symbol: str
) -> None:
    ends = [(*_points(facts, trial)[-1], trial.number) for trial in trials]
    if ends:
        epochs, errors, numbers = zip(*ends, strict=True)
        figure.add_scatter(
            x=epochs,
            y=errors,
            customdata=numbers,
            mode="markers",
            name=f"{words} ({len(ends)})",
            marker={
                "symbol": symbol,
                "size": 9,
                "color": palette.INK,
                "line": {"width": 2, "color": palette.INK},
            },
            hovertemplate=f"<b>trial %{{customdata}}</b> {words} after epoch %{{x}}: %{{y:.3f}}"
            "<extra></extra>",
        )


def _points(facts: ReportFacts, trial: Trial) -> list[tuple[int, float]]:
    return [
        (epoch, metrics[facts.metric])
        for epoch, metrics in sorted(trial.history.items())
        if facts.metric in metrics
    ]


def _sentence(facts: ReportFacts) -> str:
    stopped = sum(len(sweep.with_status("pruned")) for sweep in facts.sweeps)
    ended = sum(len(sweep.records) for sweep in facts.sweeps)
    if stopped:
        return f"{stopped} of {ended} trials were stopped early, where the crosses are."
    best = [sweep.best for sweep in facts.sweeps if sweep.best is not None]
    epochs = [f"epoch {one.best_epoch} of {one.epochs}" for one in best]
    who = "the best of each sweep comes" if facts.several else "the best comes"
    when = f"; {who} from {', '.join(epochs)}" if epochs else ""
    return f"No trial was stopped early{when}."
