"""Map the last hidden layers of teacher and students for the same windows (t-SNE)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.manifold import TSNE
from torch import Tensor

from hpo.report import palette
from hpo.report.charts import new_figure
from hpo.report.facts import EvaluatedNetwork, Evaluation, ReportFacts
from hpo.report.section import Panel, Section

Map = NDArray[np.float64]
FEWEST_POINTS = 8
_GROUPS = {"night": (20, 6), "morning": (6, 10), "midday": (10, 15), "afternoon": (15, 20)}


def hidden(facts: ReportFacts) -> Section | None:
    """Draw a map per network, rotated so that they compare; None without networks."""
    evaluation = facts.evaluation
    if evaluation is None or len(evaluation.hidden_rows) < FEWEST_POINTS:
        return None
    seen = [(one, _centred(one.hidden)) for one in evaluation.networks if one.hidden is not None]
    # The teacher's first: the others are rotated to match it.
    seen.sort(key=lambda pair: pair[0].role != "teacher")
    maps = _aligned([_map(features) for _, features in seen])
    panels = [_panel(evaluation, one, points) for (one, _), points in zip(seen, maps, strict=True)]
    note = (
        f"Each point is one of {len(evaluation.hidden_rows)} windows spread over "
        f"{evaluation.days}; windows that a network sees alike lie close together. All channels "
        "and sensors of the last hidden block at its newest time step; t-SNE, then turned, "
        "mirrored and scaled to fit the first "
        "map. Axes have no unit."
    )
    return Section("Hidden representations", _sentence(seen), tuple(panels), note=note)


def _map(features: Map) -> Map:
    perplexity = min(12.0, (len(features) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=0)
    points: Map = tsne.fit_transform(features).astype(np.float64)
    return points


def _centred(hidden: Tensor) -> Map:
    # In float64: in float32 the start by principal components differs between processors.
    values: Map = hidden.double().numpy()
    centred: Map = values - values.mean(axis=0)
    return centred


def _aligned(maps: list[Map]) -> list[Map]:
    aligned = [procrustes(maps[0], one)[1] for one in maps]
    return [one / np.abs(one).max() for one in aligned]


def _panel(evaluation: Evaluation, network: EvaluatedNetwork, points: Map) -> Panel:
    hours, words = _times(evaluation)
    figure = new_figure("", "", height=360)
    figure.update_xaxes(visible=False, range=[-1.15, 1.15])
    figure.update_yaxes(visible=False, range=[-1.15, 1.15])
    symbols = ("circle", "square", "diamond", "triangle-up")
    for name, color, symbol in zip(_GROUPS, palette.HOURS, symbols, strict=True):
        first, stop = _GROUPS[name]
        inside = [at for at, hour in enumerate(hours) if (hour - first) % 24 < (stop - first) % 24]
        figure.add_scatter(
            x=points[inside, 0],
            y=points[inside, 1],
            text=[words[at] for at in inside],
            mode="markers",
            name=f"{name}, {first}:00 to {stop}:00",
            marker={"color": color, "size": 10, "symbol": symbol, "opacity": 0.85},
            hovertemplate="%{text}<extra></extra>",
        )
    summary = f"Map of {len(points)} windows by the last hidden layer of {network.label}."
    name = "teacher" if network.role == "teacher" else f"student-{network.sweep}"
    title = network.label if network.sweep is None else f"student of {network.label}"
    title = "student" if network.label == "student" else title
    return Panel(f"hidden-{name}", title.capitalize(), figure, summary, half=True)


def _times(evaluation: Evaluation) -> tuple[list[float], list[str]]:
    card = evaluation.data.card
    rows = (evaluation.hidden_rows + evaluation.data.history_steps).tolist()
    minutes = [row % card.steps_per_day * card.interval_minutes for row in rows]
    words = [
        f"day {row // card.steps_per_day}, {minute // 60}:{minute % 60:02d}"
        for row, minute in zip(rows, minutes, strict=True)
    ]
    return [minute / 60 for minute in minutes], words


def _sentence(seen: list[tuple[EvaluatedNetwork, Map]]) -> str:
    (first, reference), *others = seen
    if first.role != "teacher" or not others:
        return "Without a teacher, the students' maps stand alone."
    parts = []
    for other, features in others:
        agreement = spearmanr(pdist(reference), pdist(features)).statistic
        who = "the student" if other.label == "student" else f"the student of {other.label}"
        parts.append(f"{who} {agreement:.2f}")
    return (
        "How far apart two windows are in teacher and student, as a rank correlation over all "
        f"pairs (1: the same order): {', '.join(parts)}."
    )
