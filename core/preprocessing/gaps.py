"""Fill gaps in readings, so that networks can read them.

``causal`` is the rule of everything that forecasts: a missing reading is the sensor's last one, or
what is usual at this time where a stretch has had none yet, so no value depends on a later one.
``interpolate`` is the paper's rule, a straight line between the readings before and after: it looks
ahead, so errors measured on such windows are too good. Filled values are only input to a network;
no loss and no error is computed on them. Does not limit the length of a gap; callers that must do
so measure it with ``longest_gap``.

Axes: T time steps, D time steps of a day, N sensors.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from core.errors import DatasetError, UnknownNameError

CAUSAL: Final = "causal"
INTERPOLATE: Final = "interpolate"
GAP_RULES: Final = (CAUSAL, INTERPOLATE)
"""How gaps are filled; the first is the default."""


@dataclass(frozen=True)
class CausalFill:
    """Fills a gap with the last reading of its sensor, as far as it was known at the time."""

    usual: Float[np.ndarray, "D N"]
    """What stands in before a sensor's first reading (``usual_day``), in the readings' unit."""
    restarts_daily: bool
    """Whether no reading is carried over midnight, since the day before need not be a neighbour."""

    def __call__(self, readings: NDArray[np.float32], first_step: int = 0) -> NDArray[np.float32]:
        """Return ``readings`` without gaps: the first row begins anew, as do the days of weekdays.

        Args:
            readings: uninterrupted in time [T, N], NaN where nothing was measured.
            first_step: time step of the day of the first row.
        """
        missing = np.isnan(readings)
        if not missing.any():
            return readings
        rows = np.arange(len(readings))
        steps = (first_step + rows) % len(self.usual)
        begins = rows - steps if self.restarts_daily else np.zeros_like(rows)
        newest = np.maximum.accumulate(np.where(missing, -1, rows[:, None]), axis=0)
        carried = np.take_along_axis(readings, newest.clip(0), axis=0)
        return np.where(newest >= begins.clip(0)[:, None], carried, self.usual[steps])

    def begins(self, step: int | None) -> bool:
        """Return whether a stream begins anew at this time step of the day; None: not known."""
        return self.restarts_daily and step == 0

    def next_row(
        self,
        reading: Float[np.ndarray, " N"],
        last: Float[np.ndarray, " N"],
        step: int | None,
    ) -> NDArray[np.float32]:
        """Fill the next row of a stream.

        Args:
            reading: NaN where nothing was measured.
            last: the last reading of each sensor, NaN before its first.
            step: time step of the day; None: not known, the usual reading is a mean over the day.
        """
        usual = self.usual.mean(axis=0) if step is None else self.usual[step]
        filled = np.where(np.isnan(reading), np.where(np.isnan(last), usual, last), reading)
        return filled.astype(np.float32)


def causal_fill(day_kind: str, usual: Float[np.ndarray, "D N"]) -> CausalFill:
    """Return what fills the gaps of readings of some kind of days (``DatasetCard.day_kind``)."""
    return CausalFill(usual, restarts_daily=day_kind == "weekdays")


def usual_day(training: NDArray[np.float32], steps_per_day: int) -> Float[np.ndarray, "D N"]:
    """Return what each sensor usually reads at each time step of a day: a mean over training days.

    Where a sensor has no reading at that step, its mean over the day; where it has none at all, the
    mean of all sensors.

    Args:
        training: readings of whole days [T, N], NaN where nothing was measured.
        steps_per_day: D.
    """
    days = training.reshape(-1, steps_per_day, training.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=RuntimeWarning)  # a mean of nothing is NaN
        by_step = np.nanmean(days, axis=0, dtype=np.float64)
        by_sensor = np.nanmean(training, axis=0, dtype=np.float64)
        overall = np.nanmean(training, dtype=np.float64)
    by_sensor = np.where(np.isnan(by_sensor), overall, by_sensor)
    return np.where(np.isnan(by_step), by_sensor, by_step).astype(np.float32)


def check_gap_rule(rule: str) -> None:
    """Raise ``UnknownNameError`` unless ``rule`` is one of ``GAP_RULES``."""
    if rule not in GAP_RULES:
        raise UnknownNameError("rule for gaps", rule, GAP_RULES)


def check_every_sensor_reads(readings: NDArray[np.float32]) -> None:
    """Raise ``DatasetError`` if a sensor of ``readings`` [T, N] has no reading at all."""
    silent = np.flatnonzero(np.isnan(readings).all(axis=0))
    if len(silent):
        raise DatasetError(
            f"every sensor needs at least one reading, but column {silent[0]} has none; drop it"
        )


def interpolate_gaps(readings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``readings`` [T, N] with gaps interpolated along time; at the ends, the nearest value.

    Raises:
        DatasetError: a sensor has no reading at all.
    """
    missing = np.isnan(readings)
    if not missing.any():
        return readings
    check_every_sensor_reads(readings)
    filled = np.array(readings)
    steps = np.arange(len(readings))
    for sensor in np.flatnonzero(missing.any(axis=0)):
        known = ~missing[:, sensor]
        filled[~known, sensor] = np.interp(steps[~known], steps[known], readings[known, sensor])
    return filled


def longest_gap(missing: NDArray[np.bool_]) -> tuple[int, int]:
    """Return first step and length of the longest run of True in ``missing`` [T]."""
    edges = np.flatnonzero(np.diff(missing.astype(np.int8), prepend=0, append=0))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    if not len(starts):
        return 0, 0
    longest = int(lengths.argmax())
    return int(starts[longest]), int(lengths[longest])
