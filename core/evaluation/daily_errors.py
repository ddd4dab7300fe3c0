"""Measure the errors of a network's forecasts day by day.

Windows of one day resemble each other, so whole days are the units that a resampling of errors
draws. A window belongs to the day of the first reading that it forecasts. Does not decide which
part of the split may be looked at, and resamples nothing.
"""

from __future__ import annotations

import torch

from core.ensemble import Network
from core.evaluation.forecasting import forecasts_or_repeated, new_errors, truth_after
from core.evaluation.metrics import ForecastErrors
from core.preprocessing.prepare import PreparedData
from core.preprocessing.windows import Part


def errors_by_day(
    model: Network | None, data: PreparedData, part: Part
) -> dict[int, ForecastErrors]:
    """Return the errors at 15, 30 and 45 minutes of every day of a part, by the day's number.

    Args:
        model: the network; None: repeat the last reading.
        data: on the network's device.
        part: of the split.
    """
    found: dict[int, ForecastErrors] = {}
    for stretch in data.stretches(part):
        for start, forecast in forecasts_or_repeated(model, data, stretch):
            truth = truth_after(data, start, len(forecast))
            first_forecast = torch.arange(start, start + len(forecast)) + data.history_steps
            days = first_forecast // data.card.steps_per_day
            for day in sorted({*days.tolist()}):
                of_day = (days == day).to(forecast.device)
                errors = found.setdefault(day, new_errors(data))
                errors.add(forecast[of_day], truth[of_day])
    return found
