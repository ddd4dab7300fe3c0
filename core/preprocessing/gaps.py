"""Fill gaps in readings by linear interpolation along time, sensor by sensor.

Filled values are only input to the network: errors are never computed on them
(``core.evaluation.metrics`` skips them). Does not limit the length of a gap; callers that must do
so measure it with ``longest_gap``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.errors import DatasetError


def interpolate_gaps(readings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``readings`` [T, N] with gaps interpolated along time; at the ends, the nearest value.

    Raises:
        DatasetError: a sensor has no reading at all.
    """
    missing = np.isnan(readings)
    if not missing.any():
        return readings
    filled = np.array(readings)
    steps = np.arange(len(readings))
    for sensor in np.flatnonzero(missing.any(axis=0)):
        known = ~missing[:, sensor]
        if not known.any():
            raise DatasetError(
                f"every sensor needs at least one reading, but column {sensor} has none; drop it"
            )
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
