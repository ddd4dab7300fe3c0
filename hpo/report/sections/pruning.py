"""Draw how pruned students shrank, removal by removal, and how their error changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import plotly.graph_objects as go

from hpo.report import palette
from hpo.report.charts import baseline, new_figure
from hpo.report.facts import ReportedSweep, ReportFacts
from hpo.report.section import Panel, Section
from hpo.report.wording import metric_name
from hpo.space.parameters import PRUNE

Step = dict[str, Any]
"""A ``core.pruning.algorithm.PruningStep`` as it is stored."""
Trajectories = Mapping[int, list[Step]]
"""Trial -> its steps, the best trial first."""


def pruning(facts: ReportFacts) -> Section | None:
    """Draw parameters and error over the training steps; None if nothing was pruned."""
    pruned = {
        at: found
        for at, sweep in enumerate(facts.sweeps)
        if sweep.plan.config.method == PRUNE and (found := _trajectories(sweep))
    }
    if not pruned:
        return None
    sizes = new_figure("training step", "parameters", height=380)
    sizes.update_yaxes(type="log", dtick="D1", tickformat="~s")
    errors = new_figure("training step", metric_name(facts.metric, facts.unit), height=380)
    for at, trajectories in pruned.items():
        name = facts.sweeps[at].name if facts.several else ""
        _add(sizes, at, name, trajectories, lambda step: float(step["parameters"]))
        _add(errors, at, name, trajectories, lambda step: facts.error_of(step["metrics"] or {}))
    baseline(errors, facts, "teacher")
    seen = _sentence(facts, pruned)
    sizes.update_traces(line_shape="hv")
    panels = (
        Panel("pruning-parameters", "Parameters left", sizes, f"Falling steps. {seen}", half=True),
        Panel("pruning-errors", "Error after every epoch", errors, f"Lines. {seen}", half=True),
    )
    note = "Filters leave for good; after the last removal the student is tuned on the plain loss."
    return Section("Pruning trajectories", seen, panels, note=note)


def _trajectories(sweep: ReportedSweep) -> dict[int, list[Step]]:
    found = {}
    for record in sweep.ranked:
        path = sweep.folder.trajectory(record.trial)
        if path.is_file():
            found[record.trial] = json.loads(path.read_text())
    return found


def _add(
    figure: go.Figure,
    at: int,
    sweep: str,
    trajectories: Trajectories,
    value: Callable[[Step], float | None],
) -> None:
    """Add the line of the best trial and, in one trace behind it, those of the others."""
    prefix = f"{sweep}, " if sweep else ""
    best, *others = trajectories
    lines = {
        f"{prefix}other trials": (others, {"color": palette.FAINT, "width": 1.3}),
        f"{prefix}best, trial {best}": ([best], {"color": palette.sweep_color(at), "width": 2.6}),
    }
    for name, (trials, line) in lines.items():
        points: list[tuple[Any, ...]] = []
        for trial in trials:
            steps = [step for step in trajectories[trial] if value(step) is not None]
            points += [(step["step"], value(step), _words(trial, step)) for step in steps]
            points.append((None, None, None))  # breaks the line
        if points:
            x, y, words = zip(*points, strict=True)
            figure.add_scatter(
                x=x,
                y=y,
                text=words,
                mode="lines",
                name=name,
                line=line,
                hovertemplate="%{text}<extra></extra>",
            )


def _words(trial: int, step: Step) -> str:
    errors = step["metrics"] or {}
    error = f"<br>validation MAE {errors['val_mae']:.3f}" if "val_mae" in errors else ""
    return (
        f"<b>trial {trial}</b>, epoch {step['epoch']}, step {step['step']:,}<br>"
        f"{step['parameters']:,} parameters{error}"
    )


def _sentence(facts: ReportFacts, pruned: Mapping[int, Trajectories]) -> str:
    parts = []
    for at, trajectories in pruned.items():
        steps = trajectories[next(iter(trajectories))]
        removals = sum(step["metrics"] is None for step in steps)
        parts.append(
            f"the best student of {facts.sweeps[at].name} shrank in {removals} removals to "
            f"{steps[-1]['parameters']:,} parameters"
        )
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
