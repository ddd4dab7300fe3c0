"""Break the errors of a network down by step ahead, hour of day and sensor.

Also collects its forecasts and the activations of its last hidden layer, for reports. Does not
decide which part of the split may be looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.ensemble import Network
from core.evaluation.forecasting import forecasts_or_repeated, truth_after
from core.preprocessing.prepare import PreparedData
from core.preprocessing.windows import Part
from core.shapes import Rows

Axis = Literal["hour", "step", "sensor"]
HOURS = 24


class ErrorBreakdown:
    """Sums of errors in the readings' unit, kept apart by hour of day, step ahead and sensor."""

    def __init__(self, data: PreparedData) -> None:
        """Start with no forecasts on ``data``."""
        self._data = data
        shape = (HOURS, data.horizon_steps, data.card.num_sensors)
        # Absolute error, squared error, entries.
        self._sums = torch.zeros(3, *shape, dtype=torch.float64)

    def add(self, start: int, forecast: Float[Tensor, "W H N"]) -> None:
        """Add the forecasts of W windows in a row, the first from row ``start`` on.

        An error belongs to the hour that was forecast; gaps are skipped.
        """
        truth = truth_after(self._data, start, len(forecast))
        error = (forecast - truth).double().abs().cpu()
        known = ~error.isnan()
        terms = (error.where(known, 0.0), error.square().where(known, 0.0), known.double())
        index = self._hours(start, len(forecast)) * forecast.shape[1]
        index = (index + torch.arange(forecast.shape[1])).flatten()
        for sums, term in zip(self._sums, terms, strict=True):
            sums.flatten(0, 1).index_add_(0, index, term.flatten(0, 1))

    def mae(self, by: Axis, steps: slice = slice(None)) -> Float[Tensor, " _"]:
        """Return the mean absolute error along one axis, NaN where no reading was measured.

        Args:
            by: the axis to keep; errors are averaged over the others.
            steps: which steps ahead count, from 0; all of them by default.
        """
        absolute, _, entries = self._summed(by, steps)
        mean: Tensor = absolute / entries
        return mean

    def rmse(self, by: Axis, steps: slice = slice(None)) -> Float[Tensor, " _"]:
        """Return the root of the mean squared error; otherwise like ``mae``."""
        _, squared, entries = self._summed(by, steps)
        root: Tensor = (squared / entries).sqrt()
        return root

    def _summed(self, by: Axis, steps: slice) -> Float[Tensor, "3 _"]:
        over = {"hour": (2, 3), "step": (1, 3), "sensor": (1, 2)}[by]
        return self._sums[:, :, steps].sum(dim=over)

    def _hours(self, start: int, windows: int) -> Int[Tensor, "W H"]:
        card, steps = self._data.card, torch.arange(self._data.horizon_steps)
        first = torch.arange(start, start + windows)[:, None] + self._data.history_steps
        return (first + steps) % card.steps_per_day * card.interval_minutes // 60


@dataclass(frozen=True)
class JudgedPart:
    """All forecasts on one part of the split, and their errors."""

    rows: Rows
    """First row of every window."""
    forecasts: Float[Tensor, "W H N"]
    """In the readings' unit."""
    errors: ErrorBreakdown


def judge(model: Network | None, data: PreparedData, part: Part) -> JudgedPart:
    """Forecast after every window of ``part`` and measure the errors.

    Args:
        model: the network; None: repeat the last reading.
        data: on the network's device.
        part: of the split.
    """
    errors, firsts, forecasts = ErrorBreakdown(data), [], []
    for stretch in data.stretches(part):
        for start, forecast in forecasts_or_repeated(model, data, stretch):
            errors.add(start, forecast)
            firsts.append(torch.arange(start, start + len(forecast)))
            forecasts.append(forecast.cpu())
    return JudgedPart(torch.cat(firsts), torch.cat(forecasts), errors)


@torch.inference_mode()
def hidden_representations(
    model: Network, data: PreparedData, rows: Rows
) -> Float[Tensor, "W features"] | None:
    """Return the activations of the last hidden layer for some windows, all channels and sensors.

    None of an ensemble whose members have no hidden layers in common.

    Args:
        model: the network; its last ST block is read at its newest time step.
        data: on the network's device.
        rows: first rows of W windows.
    """
    windows = [slice(row, row + data.history_steps) for row in rows.tolist()]
    readings = torch.stack([data.readings[window] for window in windows])
    missing = torch.stack([data.missing(window) for window in windows])
    _, features = model(model.signal(readings, missing))
    if not features.temporal:
        return None
    last: Tensor = features.temporal[-1][:, :, -1]
    return last.flatten(1).cpu()
