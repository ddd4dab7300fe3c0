"""Compare forecasts with the readings that came, over the last day, beside repeating the last one.

A forecast is judged once the reading of its time has come; where nothing was measured or forecast,
nothing is judged. Both are judged on the same readings. Does not know the manifest's errors.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from core.export.stream_rows import Row

_STUDENT, _REPEAT_LAST = 0, 1


@dataclass(frozen=True)
class RollingMae:
    """Mean absolute errors in the readings' unit; NaN where nothing could be judged yet."""

    student: NDArray[np.float64]
    """Per horizon, or per horizon and sensor."""
    repeat_last: NDArray[np.float64]
    """Of repeating the last reading, over the same readings."""


class RollingErrors:
    """Absolute errors of the newest forecasts that could be judged."""

    def __init__(
        self, horizon_minutes: Sequence[int], interval_minutes: int, window_rows: int
    ) -> None:
        """Begin without any.

        Args:
            horizon_minutes: where forecasts are judged; whole intervals.
            interval_minutes: between two rows.
            window_rows: how many of the newest rows count.
        """
        self.horizon_minutes = tuple(horizon_minutes)
        self._interval = timedelta(minutes=interval_minutes)
        self._steps = [minutes // interval_minutes for minutes in horizon_minutes]
        self._pending: dict[datetime, tuple[Row, Row]] = {}
        self._errors: deque[NDArray[np.float32]] = deque(maxlen=window_rows)
        """Per row that was forecast: [2, horizons, N], of student and repeated reading."""

    @property
    def rows(self) -> int:
        """How many rows could be judged at one horizon at least."""
        return len(self._errors)

    def add(self, time: datetime, reading: Row, filled: Row, forecast: Row | None) -> None:
        """Judge the forecasts made for ``time``, and keep the new one to be judged later.

        Args:
            time: of the row.
            reading: [N], NaN where nothing was measured.
            filled: the row without gaps [N].
            forecast: made after this row [H, N]; None: there was none.
        """
        errors = np.full((2, len(self._steps), len(reading)), np.nan, dtype=np.float32)
        for place, step in enumerate(self._steps):
            made = self._pending.get(time - step * self._interval)
            if made is not None:
                errors[:, place] = _absolute(reading, made[0][step - 1], made[1])
        if not np.isnan(errors).all():
            self._errors.append(errors)
        oldest = time - max(self._steps) * self._interval
        self._pending = {at: one for at, one in self._pending.items() if at > oldest}
        if forecast is not None:
            self._pending[time] = (forecast, filled)

    def overall(self) -> RollingMae:
        """Return the errors per horizon, over all sensors."""
        return self._mean((0, 3))

    def by_sensor(self) -> RollingMae:
        """Return the errors per horizon and sensor [horizons, N]."""
        return self._mean((0,))

    def _mean(self, axes: tuple[int, ...]) -> RollingMae:
        if not self._errors:
            nothing = np.full(len(self._steps), np.nan)
            return RollingMae(nothing, nothing)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=RuntimeWarning)  # a mean of nothing is NaN
            errors = np.stack(self._errors)
            means: NDArray[np.float64] = np.nanmean(errors, axis=axes, dtype=np.float64)
        return RollingMae(means[_STUDENT], means[_REPEAT_LAST])


def expected_mae(
    metrics: Mapping[str, float | None], horizon_minutes: Sequence[int]
) -> list[float | None]:
    """Return the mean absolute errors of a manifest's test days, per horizon."""
    return [metrics.get(f"mae_{minutes}") for minutes in horizon_minutes]


def _absolute(reading: Row, forecast: Row, repeated: Row) -> NDArray[np.float32]:
    errors = np.abs(np.stack([forecast, repeated]) - reading)
    return np.where(np.isnan(errors).any(axis=0), np.float32(np.nan), errors)
