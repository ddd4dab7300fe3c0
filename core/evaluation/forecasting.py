"""Forecast several steps with a network, and compute the errors of these forecasts.

A network that predicts one step forecasts autoregressively (paper, Fig. 2): each prediction is
appended and the oldest reading dropped. One that predicts a horizon needs a single pass. Where a
network is equivariant in time, the first step of all windows of a stretch is one pass over it, and
each further step computes only the newest column of every layer; others pass each window whole. The
result equals rolling out every window separately. Does not train.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from core.ensemble import Network
from core.errors import ConfigError
from core.evaluation.metrics import ForecastErrors
from core.preprocessing.horizons import HORIZON_MINUTES
from core.preprocessing.prepare import PreparedData, steps_of
from core.preprocessing.windows import Part, Stretch

WINDOWS_PER_PASS = {"cpu": 48, "cuda": 288}
"""Bounds memory: a teacher keeps about 0.6 MB of layer columns per window at 228 sensors. On a CPU
the columns of so few windows stay in the caches; on a GPU larger passes need fewer launches."""


@torch.inference_mode()
def roll_out(
    model: Network,
    readings: Float[Tensor, "T N"],
    steps: int,
    missing: Float[Tensor, "T N"] | None = None,
) -> Float[Tensor, "W H N"]:
    """Forecast ``steps`` readings after every window of an uninterrupted stretch.

    Args:
        model: in training or evaluation mode, which makes no difference to its layers.
        readings: scaled [T, N], T >= history_steps.
        steps: H, at most what a horizon head predicts.
        missing: see ``STGCN.signal``.

    Returns:
        Scaled forecasts [T - history_steps + 1, H, N]; window w reads rows w .. w +
        history_steps - 1.

    Raises:
        ConfigError: a horizon head predicts fewer steps.
    """
    seen = model.signal(readings[None], None if missing is None else missing[None])
    first, _, inputs = model.stream(seen, None)
    return roll_on(model, first, inputs, steps)


@torch.inference_mode()
def roll_on(
    model: Network, first: Tensor, inputs: list[Tensor], steps: int
) -> Float[Tensor, "W H N"]:
    """Forecast ``steps`` readings after every window that one call of ``STGCN.stream`` completed.

    Args:
        model: see ``roll_out``.
        first: the predictions that the call returned, of a batch of one.
        inputs: the inputs of the layers that it returned.
        steps: see ``roll_out``.

    Raises:
        ConfigError: see ``roll_out``.
    """
    if model.config.steps_ahead is not None:
        return first_steps(model, first[0], steps)
    forecasts = [first[0]]
    tails = _tails_of_windows(model, inputs, windows=len(forecasts[0])) if steps > 1 else []
    for _ in range(steps - 1):
        newest, _, inputs = model.stream(model.signal(forecasts[-1][:, None]), tails)
        tails = model.last_tails(inputs)
        forecasts.append(newest[:, 0])
    return torch.stack(forecasts, dim=1)


def first_steps(
    model: Network, predictions: Float[Tensor, "W K N"], steps: int
) -> Float[Tensor, "W H N"]:
    """Return the first ``steps`` of the K time steps that a horizon head predicted.

    Raises:
        ConfigError: there are fewer.
    """
    most = model.config.steps_per_pass
    if steps > most:
        raise ConfigError(
            f"a horizon head forecasts no more than the {most} steps it predicts, got {steps}; "
            f"ask for fewer, or train one with horizon_steps = {steps}"
        )
    return predictions[:, :steps]


def evaluate(model: Network, data: PreparedData, part: Part) -> dict[str, float]:
    """Return the errors of ``model`` on all windows of one part of the split.

    Returns:
        Names like ``mae_15``, values in original units (``core.evaluation.metrics``).
    """
    errors = new_errors(data)
    for stretch in data.stretches(part):
        add_stretch(errors, model, data, stretch)
    return errors.summary()


def add_stretch(
    errors: ForecastErrors, model: Network, data: PreparedData, stretch: Stretch
) -> None:
    """Add the forecasts of all windows of ``stretch`` to ``errors``."""
    for start, forecast in forecasts_of(model, data, stretch):
        errors.add(forecast, truth_after(data, start, len(forecast)))


def forecasts_of(
    model: Network, data: PreparedData, stretch: Stretch
) -> Iterator[tuple[int, Float[Tensor, "W H N"]]]:
    """Yield the first row of a run of windows and their forecasts, in the readings' unit.

    All windows of ``stretch`` come in order, a bounded number at a time.
    """
    last_window = stretch.stop - data.window_steps
    most = WINDOWS_PER_PASS[data.readings.device.type]
    for start in range(stretch.start, last_window + 1, most):
        count = min(most, last_window + 1 - start)
        rows = slice(start, start + count + data.history_steps - 1)
        missing = data.missing(rows) if model.config.missing_mask else None
        forecast = roll_out(model, data.readings[rows], data.horizon_steps, missing)
        yield start, data.scaler.unscale(forecast)


def forecasts_or_repeated(
    model: Network | None, data: PreparedData, stretch: Stretch
) -> Iterator[tuple[int, Float[Tensor, "W H N"]]]:
    """Yield what ``forecasts_of`` yields; of no model, the last reading of every window."""
    if model is None:
        yield stretch.start, repeated_readings(data, stretch)
    else:
        yield from forecasts_of(model, data, stretch)


def repeat_last(data: PreparedData, part: Part) -> dict[str, float]:
    """Return the errors of repeating the last reading: the baseline every student must beat."""
    errors = new_errors(data)
    for stretch in data.stretches(part):
        add_repeated(errors, data, stretch)
    return errors.summary()


def add_repeated(errors: ForecastErrors, data: PreparedData, stretch: Stretch) -> None:
    """Add to ``errors`` what repeating the last reading forecasts in all windows of ``stretch``."""
    forecast = repeated_readings(data, stretch)
    if len(forecast):
        errors.add(forecast, truth_after(data, stretch.start, len(forecast)))


def repeated_readings(data: PreparedData, stretch: Stretch) -> Float[Tensor, "W H N"]:
    """Return the last reading of every window of ``stretch`` as its forecast."""
    count = max(0, stretch.stop - stretch.start - data.window_steps + 1)
    last_seen = stretch.start + data.history_steps - 1
    last = data.scaler.unscale(data.readings[last_seen : last_seen + count])
    return last[:, None].expand(-1, data.horizon_steps, -1)


def new_errors(data: PreparedData) -> ForecastErrors:
    """Return an empty accumulator of errors at 15, 30 and 45 minutes."""
    interval = data.card.interval_minutes
    return ForecastErrors(HORIZON_MINUTES, [steps_of(at, interval) for at in HORIZON_MINUTES])


def truth_after(data: PreparedData, start: int, count: int) -> Float[Tensor, "W H N"]:
    """Return the readings after ``count`` windows from row ``start`` on, NaN where missing."""
    first = start + data.history_steps
    ahead = data.truth[first : first + count + data.horizon_steps - 1]
    return ahead.unfold(0, data.horizon_steps, 1).transpose(1, 2)


def _tails_of_windows(model: Network, inputs: list[Tensor], windows: int) -> list[Tensor]:
    """Cut each window's tails out of one pass over a stretch, as a batch [W, size - 1, C, N]."""
    tails = []
    for columns, size in zip(inputs, model.temporal_kernel_sizes, strict=True):
        if size == 1:
            tails.append(columns.new_empty(windows, 0, *columns.shape[2:]))
            continue
        runs = columns[0].unfold(0, size - 1, 1)[-windows:]  # [W, C, N, size - 1]
        tails.append(runs.permute(0, 3, 1, 2))
    return tails
