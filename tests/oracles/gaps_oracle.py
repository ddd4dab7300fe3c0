"""What stands in for gaps, restated naively: look left; to interpolate, look right too."""

from __future__ import annotations

import math

import numpy as np


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


def carried(readings, usual, first_step=0, restarts_daily=True):
    """Return ``readings`` [T, N] with each gap as the last reading known, else as usual [D, N]."""
    filled = np.array(readings, dtype=np.float64)
    for row, sensor in zip(*np.nonzero(np.isnan(filled)), strict=True):
        filled[row, sensor] = usual[(first_step + row) % len(usual)][sensor]
        for earlier in range(row - 1, -1, -1):
            begins = restarts_daily and (first_step + earlier + 1) % len(usual) == 0
            if begins:
                break
            if not math.isnan(readings[earlier, sensor]):
                filled[row, sensor] = readings[earlier, sensor]
                break
    return filled


def usual_day(training, steps_per_day):
    """Return the mean of each sensor and step of the day, of the sensor, or of everything."""
    usual = np.empty((steps_per_day, training.shape[1]))
    for step, sensor in np.ndindex(*usual.shape):
        for values in (training[step::steps_per_day, sensor], training[:, sensor], training):
            known = [float(one) for one in np.ravel(values) if not math.isnan(one)]
            if known:
                usual[step, sensor] = sum(known) / len(known)
                break
    return usual
