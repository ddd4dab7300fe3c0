"""Fit prediction intervals to a network's errors, and measure how much of other days they cover.

Days are not exchangeable, so what intervals promise (``core.evaluation.intervals``) and what they
cover differ; the second is measured here. Does not choose days.

Axes: W windows, H steps ahead, N sensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from core.ensemble import Network
from core.evaluation.forecasting import forecasts_of, truth_after
from core.evaluation.intervals import HOURS, Intervals, hours_ahead, intervals_from
from core.preprocessing.horizons import HORIZON_MINUTES
from core.preprocessing.prepare import PreparedData, steps_of
from core.preprocessing.windows import Part, Stretch


@dataclass(frozen=True)
class Covered:
    """How much of some days the intervals covered, per horizon in minutes."""

    share: dict[int, float]
    """Of the readings measured; NaN where there were none."""
    width: dict[int, float]
    """Mean width, from the lower to the upper end, in the readings' unit."""
    by_hour: dict[int, Float[np.ndarray, 24]]
    """``share`` of the readings of each hour of the day."""

    def to_json(self) -> dict[str, dict[str, float | None]]:
        """Return ``share`` and ``width`` by horizon; None where nothing was measured."""
        return {
            name: {str(at): None if math.isnan(one) else one for at, one in values.items()}
            for name, values in (("share", self.share), ("width", self.width))
        }


def fit_intervals(model: Network, data: PreparedData, part: Part) -> Intervals:
    """Fit intervals on the forecasts of a network for one part of the split.

    Args:
        model: trained on other days.
        data: on the network's device.
        part: the days.
    """
    return intervals_from(*_errors_on(model, data, data.stretches(part)))


def measure_coverage(
    model: Network,
    data: PreparedData,
    stretches: Sequence[Stretch],
    intervals: Intervals,
    first_step: int = 0,
) -> Covered:
    """Return how much of the readings after all windows of ``stretches`` the intervals cover.

    Args:
        model: the network.
        data: on its device.
        stretches: of ``data``.
        intervals: around its forecasts.
        first_step: time step of the day of the first row of ``data``.
    """
    errors, hours = _errors_on(model, data, stretches, first_step)
    return coverage_of(errors, hours, intervals, data.card.interval_minutes)


def coverage_of(
    errors: Float[np.ndarray, "W H N"],
    hours: Int[np.ndarray, "W H"],
    intervals: Intervals,
    interval_minutes: int,
) -> Covered:
    """Return how many of these absolute errors are within the half-widths."""
    widths = intervals.around(hours)
    known = ~np.isnan(errors) & ~np.isnan(widths)
    within = known & (errors <= widths)
    share, width, by_hour = {}, {}, {}
    for minutes in HORIZON_MINUTES:
        step = steps_of(minutes, interval_minutes) - 1
        counted = np.zeros((2, HOURS))
        for counts, entries in zip(counted, (within, known), strict=True):
            np.add.at(counts, hours[:, step], entries[:, step].sum(axis=1))
        inside, measured = counted
        by_hour[minutes] = _ratio(inside, measured)
        share[minutes] = float(_ratio(inside.sum(), measured.sum()))
        sums = np.where(known, 2 * widths, 0)[:, step].sum(dtype=np.float64)
        width[minutes] = float(_ratio(sums, measured.sum()))
    return Covered(share, width, by_hour)


def _ratio(values: ArrayLike, counts: ArrayLike) -> NDArray[np.float64]:
    """Return ``values / counts``, NaN where nothing was counted."""
    return np.asarray(np.divide(values, np.where(np.equal(counts, 0), np.nan, counts)))


def _errors_on(
    model: Network, data: PreparedData, stretches: Sequence[Stretch], first_step: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the absolute errors of all windows [W, H, N] and the hours they are about [W, H]."""
    errors: list[Tensor] = []
    hours = []
    for stretch in stretches:
        for start, forecast in forecasts_of(model, data, stretch):
            errors.append((forecast - truth_after(data, start, len(forecast))).abs().cpu())
            first = first_step + start + data.history_steps
            interval = data.card.interval_minutes
            hours.append(hours_ahead(first, len(forecast), data.horizon_steps, interval))
    return torch.cat(errors).numpy(), np.concatenate(hours)
