"""Scale readings to z-scores (Eq. 15), with one mean and one standard deviation for all sensors.

Does not select the training days: callers must pass those and nothing else to ``Scaler.fit``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from core.errors import DatasetError

Values = TypeVar("Values", NDArray[np.float32], Tensor)


@dataclass(frozen=True)
class Scaler:
    """z = (x - mean) / std."""

    mean: float
    """In the readings' unit."""
    std: float
    """In the readings' unit, positive."""

    @classmethod
    def fit(cls, training_readings: NDArray[np.float32]) -> Scaler:
        """Fit on readings in their own unit; those that are NaN, not measured, do not count."""
        missing = np.isnan(training_readings)
        if missing.any():
            training_readings = training_readings[~missing]
        std = float(training_readings.std(dtype=np.float64))
        if not std > 0:
            raise DatasetError(
                "training readings must vary, but all are equal; check the imported channel"
            )
        return cls(float(training_readings.mean(dtype=np.float64)), std)

    def scale(self, values: Values) -> Values:
        """Return z-scores of values in the original unit."""
        return (values - self.mean) / self.std

    def unscale(self, values: Values) -> Values:
        """Return values in the original unit of z-scores."""
        return values * self.std + self.mean
