"""Draw one day of a few sensors: true readings, the students' forecasts and the teacher's."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import torch

from hpo.report import palette
from hpo.report.charts import line_of, new_figure
from hpo.report.facts import EvaluatedNetwork, Evaluation, ReportFacts
from hpo.report.section import Panel, Section
from hpo.report.sections.errors import days_note, horizon_slices
from hpo.report.wording import with_unit

SENSORS = {"the easiest sensor": 0.0, "the median sensor": 0.5, "the hardest sensor": 1.0}
"""Label -> quantile of the sensor among all, by the first student's error."""


def forecasts(facts: ReportFacts) -> Section | None:
    """Draw three sensors (the paper's Figures 3-5); None if no network could be evaluated."""
    evaluation = facts.evaluation
    if evaluation is None:
        return None
    seen, panels = one_day(evaluation)
    return Section("Forecasts and truth", seen, panels, days_note(facts, evaluation))


def one_day(evaluation: Evaluation) -> tuple[str, tuple[Panel, ...]]:
    """Return a sentence on one day of three sensors, and a figure of each."""
    by_sensor = evaluation.students[0].judged.errors.mae("sensor").nan_to_num(nan=math.inf)
    order = [
        at for at in torch.argsort(by_sensor, stable=True).tolist() if by_sensor[at] < math.inf
    ]
    day = _liveliest_day(evaluation, order[-1])
    panels = []
    for words, place in SENSORS.items():
        sensor = order[round(place * (len(order) - 1))]
        panels.append(_panel(evaluation, sensor, words, day))
    return _sentence(evaluation, order), tuple(panels)


def _panel(evaluation: Evaluation, sensor: int, words: str, day: int) -> Panel:
    card = evaluation.data.card
    figure = new_figure("time of day", with_unit("reading", card.unit), height=340)
    hours_shown = list(range(0, 25, 6))
    figure.update_xaxes(range=[0, 24.2], tickvals=hours_shown, tickangle=0)
    figure.update_xaxes(ticktext=[f"{hour}:00" for hour in hours_shown])
    start = day * card.steps_per_day
    truth = evaluation.data.truth[start : start + card.steps_per_day, sensor].cpu().numpy()
    hours = np.arange(card.steps_per_day) * card.interval_minutes / 60
    clock = [_clock(hour) for hour in hours]
    figure.add_scatter(
        x=hours,
        y=truth,
        text=clock,
        mode="lines",
        name="what was measured",
        line={"color": palette.INK, "width": 1.3},
        hovertemplate=f"<b>measured</b> at %{{text}}: %{{y:.1f}} {card.unit}<extra></extra>",
    )
    choices = horizon_slices(evaluation)
    for choice, steps in choices.items():
        for network in evaluation.networks:
            if network.role != "repeat_last":
                _add_forecast(figure, evaluation, network, (sensor, day, steps.start), choice)
    summary = (
        f"Lines of the readings of sensor {card.sensor_ids[sensor]} on day {day} and of what "
        "students and teacher forecast."
    )
    name = card.sensor_ids[sensor]
    title = f"Sensor {name}, {words}; day {day}"
    return Panel(f"forecast-{words.split()[1]}", title, figure, summary, choices=tuple(choices))


def _add_forecast(
    figure: go.Figure,
    evaluation: Evaluation,
    network: EvaluatedNetwork,
    where: tuple[int, int, int],
    choice: str,
) -> None:
    sensor, day, step = where
    card, judged = evaluation.data.card, network.judged
    times = judged.rows + evaluation.data.history_steps + step - day * card.steps_per_day
    of_day = (times >= 0) & (times < card.steps_per_day)
    hours = times[of_day].numpy() * card.interval_minutes / 60
    line = {**line_of(network), "width": 1.8 if network.role == "student" else 1.4}
    if network.role == "teacher":
        line["dash"] = "dot"
    figure.add_scatter(
        x=hours,
        y=judged.forecasts[of_day, step, sensor].numpy(),
        text=[_clock(hour) for hour in hours],
        meta=choice,
        visible=choice.startswith("45"),
        mode="lines",
        name=network.label,
        line=line,
        hovertemplate=f"<b>{network.label}</b> for %{{text}}: %{{y:.1f}} {card.unit}"
        "<extra></extra>",
    )


def _clock(hour: float) -> str:
    minutes = round(60 * hour)
    return f"{minutes // 60}:{minutes % 60:02d}"


def _liveliest_day(evaluation: Evaluation, sensor: int) -> int:
    """Return the number of the day on which a sensor's readings vary most."""
    length = evaluation.data.card.steps_per_day
    days: list[int] = torch.unique(evaluation.students[0].judged.rows // length).tolist()
    spreads = []
    for day in days:
        readings = evaluation.data.readings[day * length : (day + 1) * length, sensor]
        spreads.append(float(readings.std()))
    return days[int(np.argmax(spreads))]


def _sentence(evaluation: Evaluation, order: list[int]) -> str:
    errors = evaluation.students[0].judged.errors.mae("sensor")
    ids, unit = evaluation.data.card.sensor_ids, evaluation.data.card.unit
    return (
        f"One day as it was and as it was forecast: the mean error of {_whose(evaluation)} "
        f"goes from {errors[order[0]]:.2f} {unit} at sensor {ids[order[0]]} to "
        f"{errors[order[-1]]:.2f} {unit} at sensor {ids[order[-1]]}."
    )


def _whose(evaluation: Evaluation) -> str:
    label = evaluation.students[0].label
    return "the student" if label == "student" else f"the student of {label}"
