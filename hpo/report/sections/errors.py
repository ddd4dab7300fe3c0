"""Draw the errors of the shown students by horizon, by hour of the day and by sensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.preprocessing.horizons import HORIZON_MINUTES
from core.preprocessing.prepare import steps_of
from hpo.report import palette
from hpo.report.charts import line_of, new_figure
from hpo.report.facts import EvaluatedNetwork, Evaluation, ReportFacts
from hpo.report.section import Panel, Section
from hpo.report.wording import with_unit


def errors(facts: ReportFacts) -> Section | None:
    """Draw all three on the same days; None if no network could be evaluated."""
    evaluation = facts.evaluation
    if evaluation is None:
        return None
    panels = (
        _by_step(evaluation, "mae"),
        _by_step(evaluation, "rmse"),
        _by_hour(evaluation),
        _by_sensor(evaluation),
    )
    return Section(
        "Where the errors are", _sentence(evaluation), panels, note=days_note(facts, evaluation)
    )


def days_note(facts: ReportFacts, evaluation: Evaluation) -> str:
    """Say which students were evaluated, and on which days."""
    shown = [
        f"trial {sweep.shown.trial} of {sweep.name}{', exported' if sweep.shown.export else ''}"
        for sweep in facts.sweeps
        if sweep.shown is not None
    ]
    if evaluation.part == "test":
        which = "These students were exported, so the test days had been looked at already."
    else:
        which = (
            "Not every student here was exported, so the test days stay unseen, and the search "
            "has seen these days: errors on new days may be higher."
        )
    return f"On {evaluation.days}: {'; '.join(shown)}. {which}"


def horizon_slices(evaluation: Evaluation) -> dict[str, slice]:
    """Return the steps ahead that each choice of the figure shows."""
    interval = evaluation.data.card.interval_minutes
    steps = {f"{at} min": steps_of(at, interval) - 1 for at in HORIZON_MINUTES}
    return {name: slice(step, step + 1) for name, step in steps.items()}


def _by_step(evaluation: Evaluation, metric: str) -> Panel:
    unit, interval = evaluation.data.card.unit, evaluation.data.card.interval_minutes
    name = metric.upper()
    figure = new_figure("minutes ahead", with_unit(name, unit), height=360)
    minutes = [interval * (step + 1) for step in range(evaluation.data.horizon_steps)]
    figure.update_xaxes(tickvals=list(HORIZON_MINUTES), range=[0, 1.04 * minutes[-1]])
    figure.update_yaxes(rangemode="tozero")
    for network in evaluation.networks:
        errors = network.judged.errors
        values = errors.mae("step") if metric == "mae" else errors.rmse("step")
        figure.add_scatter(
            x=minutes,
            y=values.numpy(),
            mode="lines+markers",
            name=network.label,
            line=line_of(network),
            marker={"size": 5},
            hovertemplate=f"<b>{network.label}</b>, %{{x}} min: %{{y:.2f}} {unit}<extra></extra>",
        )
    summary = f"Lines of {name} by minutes ahead for {_labels(evaluation.networks)}."
    return Panel(f"errors-by-step-{metric}", f"{name} by horizon", figure, summary, half=True)


def _by_hour(evaluation: Evaluation) -> Panel:
    unit = evaluation.data.card.unit
    figure = new_figure("hour of the day that was forecast", with_unit("MAE", unit), height=380)
    figure.update_xaxes(tickvals=list(range(0, 24, 3)), range=[-0.3, 23.3])
    figure.update_yaxes(rangemode="tozero")
    choices = horizon_slices(evaluation)
    for choice, steps in choices.items():
        for network in evaluation.networks:
            figure.add_scatter(
                x=list(range(24)),
                y=network.judged.errors.mae("hour", steps).numpy(),
                meta=choice,
                visible=choice == _last(choices),
                mode="lines",
                name=network.label,
                line=line_of(network),
                hovertemplate=f"<b>{network.label}</b>, from %{{x}}:00: %{{y:.2f}} {unit}"
                "<extra></extra>",
            )
    summary = f"Lines of MAE by hour of the day for {_labels(evaluation.networks)}."
    return Panel(
        "errors-by-hour", "MAE by hour of the day", figure, summary, choices=tuple(choices)
    )


def _by_sensor(evaluation: Evaluation) -> Panel:
    """Draw each sensor as a point: the reference's error on x, the student's on y."""
    unit, reference = evaluation.data.card.unit, _reference(evaluation)
    figure = new_figure(
        with_unit(f"{reference.label}: MAE", unit), with_unit("student: MAE", unit), height=440
    )
    choices, highest = horizon_slices(evaluation), 0.0
    ids = evaluation.data.card.sensor_ids
    for choice, steps in choices.items():
        across = reference.judged.errors.mae("sensor", steps).numpy()
        for network in evaluation.students:
            up = network.judged.errors.mae("sensor", steps).numpy()
            highest = max(highest, float(np.nanmax([across, up])))
            at = network.sweep or 0
            figure.add_scatter(
                x=across,
                y=up,
                text=ids,
                meta=choice,
                visible=choice == _last(choices),
                mode="markers",
                name=network.label,
                marker={
                    "color": palette.sweep_color(at),
                    "symbol": palette.sweep_symbol(at),
                    "size": 7,
                    "opacity": 0.6,
                },
                hovertemplate=f"<b>sensor %{{text}}</b><br>{network.label} %{{y:.2f}} {unit}<br>"
                f"{reference.label} %{{x:.2f}} {unit}<extra></extra>",
            )
    figure.update_xaxes(showgrid=True, range=[0, 1.05 * highest])
    figure.update_yaxes(range=[0, 1.05 * highest])
    figure.add_scatter(
        x=[0, highest],
        y=[0, highest],
        mode="lines",
        name="equally wrong",
        line={"color": palette.MUTED, "width": 1, "dash": "dot"},
        hoverinfo="skip",
    )
    summary = f"Scatter of the MAE of {len(ids)} sensors, students against {reference.label}."
    title = f"MAE by sensor, against {reference.label}"
    return Panel("errors-by-sensor", title, figure, summary, choices=tuple(choices))


def _last(choices: dict[str, slice]) -> str:
    return list(choices)[-1]


def _reference(evaluation: Evaluation) -> EvaluatedNetwork:
    return evaluation.of_role("teacher") or evaluation.networks[-1]


def _labels(networks: Sequence[EvaluatedNetwork]) -> str:
    return ", ".join(network.label for network in networks)


def _sentence(evaluation: Evaluation) -> str:
    reference, unit, last = _reference(evaluation), evaluation.data.card.unit, slice(-1, None)
    by_step = reference.judged.errors.mae("step")
    gaps = []
    for student in evaluation.students:
        gap = float(student.judged.errors.mae("step")[-1] - by_step[-1])
        direction = "above" if gap > 0 else "below"
        gaps.append(f"{_who(student)} is {abs(gap):.2f} {unit} {direction}")
    first = evaluation.students[0].judged.errors
    worse = (first.mae("sensor", last) > reference.judged.errors.mae("sensor", last)).double()
    hour = int(np.nanargmax(first.mae("hour", last).numpy()))
    return (
        f"At {HORIZON_MINUTES[-1]} minutes {', '.join(gaps)} {_the(reference)}; "
        f"{_who(evaluation.students[0])} is worse at {100 * float(worse.mean()):.0f}\u00a0% of the "
        f"sensors and most wrong from {hour}:00 to {hour + 1}:00."
    )


def _who(student: EvaluatedNetwork) -> str:
    return "the student" if student.label == "student" else student.label


def _the(network: EvaluatedNetwork) -> str:
    return "the teacher" if network.role == "teacher" else network.label
