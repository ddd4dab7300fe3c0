"""Draw the errors of the shown students where their sensors are, with the graph's edges as roads.

A plot of coordinates: it loads no map from elsewhere.
"""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from core.datasets.dataset import DatasetCard
from core.preprocessing.prepare import PreparedData
from hpo.report import palette
from hpo.report.charts import new_figure
from hpo.report.facts import EvaluatedNetwork, Evaluation, ReportFacts
from hpo.report.section import Panel, Section
from hpo.report.sections.errors import days_note, horizon_slices

_MOST_EDGES = 5000
"""Drawn; the heaviest come first."""


def error_map(facts: ReportFacts) -> Section | None:
    """Draw a map per student, in one range of colours; None if no places are known."""
    evaluation = facts.evaluation
    if evaluation is None or not evaluation.data.card.places_known:
        return None
    panels = tuple(_panel(evaluation, student) for student in evaluation.students)
    return Section(
        "Where on the roads",
        _sentence(evaluation, evaluation.students[0]),
        panels,
        note=f"Lines join sensors that the graph joins. {days_note(facts, evaluation)}",
    )


def _panel(evaluation: Evaluation, student: EvaluatedNetwork) -> Panel:
    card, choices = evaluation.data.card, horizon_slices(evaluation)
    figure = new_figure("longitude, degrees", "latitude, degrees", height=500)
    middle = math.radians(float(np.mean([place.latitude or 0.0 for place in card.places])))
    figure.update_xaxes(tickformat=".2f", constrain="domain")
    figure.update_yaxes(tickformat=".2f", constrain="domain")
    figure.update_yaxes(scaleanchor="x", scaleratio=1 / math.cos(middle))
    figure.add_trace(_roads(evaluation.data))
    for choice, steps in choices.items():
        figure.add_trace(_sensors(evaluation, student, choice, steps))
    whose = "" if student.label == "student" else f" of {student.label}"
    return Panel(
        f"error-map-{student.sweep}",
        f"MAE{whose} by sensor, {card.unit}",
        figure,
        f"Map of {card.num_sensors} sensors, coloured by their mean absolute error.",
        choices=tuple(choices),
        least_width=560,
    )


def _sensors(
    evaluation: Evaluation, student: EvaluatedNetwork, choice: str, steps: slice
) -> go.Scatter:
    card, values = evaluation.data.card, _by_sensor(student, steps)
    # One range for all students of a horizon, so that their maps can be compared.
    everyone = np.concatenate([_by_sensor(one, steps) for one in evaluation.students])
    low, high = np.nanquantile(everyone, (0.02, 0.98))
    return go.Scatter(
        x=[place.longitude for place in card.places],
        y=[place.latitude for place in card.places],
        text=_names(card),
        customdata=values,
        meta=choice,
        visible=choice == list(horizon_slices(evaluation))[-1],
        mode="markers",
        showlegend=False,
        marker={
            "color": values,
            # The lowest error is the palest.
            "colorscale": [
                [at / (len(palette.ERRORS) - 1), color]
                for at, color in enumerate(reversed(palette.ERRORS))
            ],
            "cmin": float(low),
            "cmax": float(high),
            "size": 10,
            "line": {"color": palette.MUTED, "width": 0.6},
            "colorbar": {
                "title": {"text": card.unit, "font": {"color": palette.MUTED, "size": 12}},
                "tickfont": {"color": palette.MUTED, "size": 12},
                "thickness": 10,
                "outlinewidth": 0,
            },
        },
        hovertemplate=f"<b>%{{text}}</b><br>MAE %{{customdata:.2f}} {card.unit}<extra></extra>",
    )


def _roads(data: PreparedData) -> go.Scatter:
    """Return a line per edge of the graph, the heaviest where there are too many."""
    places, longitudes, latitudes = data.card.places, list[float | None](), list[float | None]()
    for first, second in _edges(data):
        longitudes += [places[first].longitude, places[second].longitude, None]
        latitudes += [places[first].latitude, places[second].latitude, None]
    return go.Scatter(
        x=longitudes,
        y=latitudes,
        mode="lines",
        line={"color": palette.GRID, "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )


def _edges(data: PreparedData) -> list[tuple[int, int]]:
    """Return the pairs of sensors that the graph kernel joins; of order one it joins none."""
    if len(data.graph_kernel) < 2:
        return []
    weights = np.abs(np.triu(data.graph_kernel[1].cpu().numpy(), 1))
    pairs = np.argwhere(weights > 0)
    heaviest = np.argsort(-weights[tuple(pairs.T)], kind="stable")[:_MOST_EDGES]
    return [(int(first), int(second)) for first, second in pairs[heaviest]]


def _names(card: DatasetCard) -> list[str]:
    return [
        f"{sensor}, {place.label}" if place.label else sensor
        for sensor, place in zip(card.sensor_ids, card.places, strict=True)
    ]


def _by_sensor(student: EvaluatedNetwork, steps: slice) -> np.ndarray:
    found: np.ndarray = student.judged.errors.mae("sensor", steps).numpy()
    return found


def _sentence(evaluation: Evaluation, student: EvaluatedNetwork) -> str:
    choice, steps = list(horizon_slices(evaluation).items())[-1]
    values, card = _by_sensor(student, steps), evaluation.data.card
    worst, best = int(np.nanargmax(values)), int(np.nanargmin(values))
    names = _names(card)
    who = "the student" if student.label == "student" else student.label
    return (
        f"At {choice} {who} is most wrong at sensor {names[worst]} ({values[worst]:.2f} "
        f"{card.unit}) and least at {names[best]} ({values[best]:.2f} {card.unit})."
    )
