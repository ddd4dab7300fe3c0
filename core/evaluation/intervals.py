"""Compute the half-widths of prediction intervals from errors, by split conformal prediction.

A half-width is a quantile of the absolute errors of a network on days that did not train it: per
step ahead and sensor, for each hour of the day that was forecast where there are enough errors
(Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, chapter 2.2; groups:
Mondrian prediction, chapter 4.5). If errors of other days are like these, at least a share of
``coverage`` of the readings lies inside. Does not run networks: ``core.evaluation.coverage`` does.
Needs no torch.

Axes: W windows, H steps ahead, N sensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

COVERAGE: Final = 0.9
HOURS: Final = 24
FEWEST_ERRORS: Final = 40
"""Of one sensor, step and hour, for a half-width of its own: windows of an hour are much alike."""


@dataclass(frozen=True)
class Intervals:
    """Half-widths of intervals around forecasts, in the readings' unit; NaN where none is known."""

    coverage: float
    """Share of readings that should lie inside."""
    overall: Float[np.ndarray, "H N"]
    """At any hour."""
    by_hour: Float[np.ndarray, "24 H N"]
    """By the hour that is forecast; ``overall`` where it had too few errors."""

    def around(self, hours: Int[np.ndarray, "W H"]) -> Float[np.ndarray, "W H N"]:
        """Return the half-widths of forecasts of these hours of the day."""
        widths: Float[np.ndarray, "W H N"] = self.by_hour[hours, np.arange(hours.shape[1])]
        return widths


def intervals_from(
    errors: Float[np.ndarray, "W H N"],
    hours: Int[np.ndarray, "W H"],
    coverage: float = COVERAGE,
) -> Intervals:
    """Return the intervals that these errors ask for.

    Args:
        errors: absolute, in the readings' unit, NaN where no reading was measured.
        hours: of the day, that each step of each window is about.
        coverage: share of readings that should lie inside.
    """
    overall = conformal_quantile(errors, coverage)
    by_hour = np.repeat(overall[None], HOURS, axis=0)
    for hour in range(HOURS):
        inside = np.where((hours == hour)[:, :, None], errors, np.float32(np.nan))
        enough = (~np.isnan(inside)).sum(axis=0) >= FEWEST_ERRORS
        by_hour[hour] = np.where(enough, conformal_quantile(inside, coverage), overall)
    return Intervals(coverage, overall, by_hour)


def conformal_quantile(
    errors: Float[np.ndarray, "W H N"], coverage: float
) -> Float[np.ndarray, "H N"]:
    """Return the ceil((n + 1) coverage)-th smallest of the n errors of each step and sensor.

    NaN is no error; where n is too small for this rank, the result is NaN.
    """
    ordered = np.sort(errors, axis=0)  # NaN last
    counts = (~np.isnan(errors)).sum(axis=0)
    ranks = np.ceil((counts + 1) * coverage).astype(np.int64)
    index = np.minimum(ranks - 1, len(errors) - 1)
    found = np.take_along_axis(ordered, index[None], axis=0)[0]
    return np.where(ranks <= counts, found, np.float32(np.nan))


def hours_ahead(
    first_step: int, windows: int, horizon_steps: int, interval_minutes: int
) -> NDArray[np.int64]:
    """Return the hour of the day that each step of consecutive forecasts is about [W, H].

    Args:
        first_step: of the first forecast, counted from the midnight before some day.
        windows: W.
        horizon_steps: H.
        interval_minutes: between two steps.
    """
    steps = first_step + np.arange(windows)[:, None] + np.arange(horizon_steps)
    return steps * interval_minutes // 60 % HOURS
