"""Linear interpolation restated naively: for every gap, look left, look right, weigh."""

from __future__ import annotations

import math


def interpolate(series):
    """Return ``series`` without NaN; beyond the first and last reading the nearest one holds."""
    return [_value(series, step) for step in range(len(series))]


def _value(series, step):
    if not math.isnan(series[step]):
        return series[step]
    left = next((i for i in range(step, -1, -1) if not math.isnan(series[i])), None)
    right = next((i for i in range(step, len(series)) if not math.isnan(series[i])), None)
    if left is None:
        return series[right]
    if right is None:
        return series[left]
    share = (step - left) / (right - left)
    return (1 - share) * series[left] + share * series[right]
