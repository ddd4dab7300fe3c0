"""Name the objectives of a sweep and compare trials by several of them.

Computes Pareto fronts and the hypervolume they dominate; lower is better throughout. Measures
nothing: latency is defined and measured in ``hpo.trials.student_costs``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from core.errors import ConfigError, UnknownNameError
from core.evaluation.metric_names import METRICS
from core.preprocessing.horizons import HORIZON_MINUTES
from hpo.internals.optuna_hypervolume import unit_hypervolume

OBJECTIVES: Final = tuple(
    f"val_{metric}{horizon}"
    for metric in METRICS
    for horizon in ("", *(f"_{minutes}" for minutes in HORIZON_MINUTES))
)
"""Validation errors: the mean of the horizons, or one of them."""

SIZES: Final = ("parameters", "flops")
LATENCY: Final = "latency_ms"
COSTS: Final = (*SIZES, LATENCY)
"""Objectives allowed beside a validation error; known of a student before it is trained."""


def read_objectives(text: str) -> tuple[str, ...]:
    """Return the names in ``val_mae,parameters``; the first is a validation error.

    Raises:
        UnknownNameError: one of them is not an objective.
        ConfigError: one is repeated, or the first is a cost.
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in {*OBJECTIVES, *COSTS}:
            raise UnknownNameError("objective", name, [*OBJECTIVES, *COSTS])
    if len(set(names)) < len(names):
        raise ConfigError(f"--objective must name each objective once, got {text!r}")
    if names[0] in COSTS:
        raise ConfigError(
            f"--objective must begin with a validation error such as val_mae, got {text!r}; "
            "put it in front"
        )
    return names


def pareto_front(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices of the points that no other dominates, in ascending order of the first.

    A point dominates another if it is nowhere larger and somewhere smaller; equal points are all
    kept.
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: tuple(points[index])):
        # In this order only an earlier point can dominate, and if one does, so does one in front.
        if not any(_dominates(points[other], points[index]) for other in front):
            front.append(index)
    return front


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """Return the share of the box from zero to ``reference`` that the points dominate.

    Points beyond the reference add nothing.
    """
    inside = [
        [value / end for value, end in zip(point, reference, strict=True)]
        for point in points
        if all(value < end for value, end in zip(point, reference, strict=True))
    ]
    return unit_hypervolume(inside) if inside else 0.0


def hypervolume_history(
    points: Sequence[Sequence[float]], reference: Mapping[str, float]
) -> list[float]:
    """Return the hypervolume after each of ``points``; empty where the reference is not finite."""
    ends = list(reference.values())
    if not ends or not all(math.isfinite(end) and end > 0 for end in ends):
        return []
    history: list[float] = []
    front: list[Sequence[float]] = []
    for point in points:
        front = [*front, point]
        front = [front[index] for index in pareto_front(front)]
        history.append(hypervolume(front, ends))
    return history


def _dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    pairs = list(zip(first, second, strict=True))
    return all(one <= other for one, other in pairs) and any(one < other for one, other in pairs)
