"""Measure how far the files of a forecaster are from PyTorch.

Compares forecasts of whole stretches of readings, window by window. Does not choose the stretches:
the caller passes recorded or synthetic ones.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from core.evaluation.forecasting import roll_out
from core.families.networks import SingleNetwork
from core.forecasters.onnx_runtime import forecast_live, forecast_windows
from core.forecasters.torch_program import load_program
from core.preprocessing.prepare import PreparedData
from core.preprocessing.scaling import Scaler

TOLERANCE = 1e-3
"""Largest accepted difference from PyTorch, in the readings' unit."""
ROUNDING_FACTOR = 4.0
"""Accepted multiple of float32's own rounding error, if that is more than ``TOLERANCE``."""
_WINDOWS_PER_RUN = 256

Stretches = Sequence[Float[Tensor, "_ N"]]
"""Scaled readings [T, N] without gaps, each uninterrupted."""


@dataclass(frozen=True)
class Parity:
    """The differences of a forecaster's file from PyTorch, over all windows."""

    max_difference: float
    """In the readings' unit, over all windows, steps and sensors."""
    mean_difference: float
    rounding: float
    """The largest difference of float32 from float64 in PyTorch."""
    windows: int

    @property
    def tolerance(self) -> float:
        """The largest accepted ``max_difference``.

        A roll-out can amplify the last bit of float32, occasionally a thousandfold; two runs in
        float32 agree no better than that, even within PyTorch.
        """
        return max(TOLERANCE, ROUNDING_FACTOR * self.rounding)

    @property
    def holds(self) -> bool:
        """Whether both agree within the tolerance; NaN never does."""
        return self.max_difference <= self.tolerance


def validation_stretches(data: PreparedData) -> list[Tensor]:
    """Return the readings of all validation windows: the stretches without their last horizon."""
    return [
        data.readings[stretch.start : stretch.stop - data.horizon_steps].cpu()
        for stretch in data.stretches("validation")
    ]


def synthetic_stretches(
    history_steps: int, num_sensors: int, windows: int = 64
) -> list[Float[Tensor, "_ N"]]:
    """Return synthetic readings: a wave per sensor and a little noise, always the same."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.arange(windows + history_steps - 1)[:, None]
    phase = 2 * torch.pi * torch.rand(num_sensors, generator=generator)
    noise = torch.randn(len(steps), num_sensors, generator=generator)
    return [torch.sin(2 * torch.pi * steps / 96 + phase) + 0.1 * noise]


def measure_parity(
    files: Mapping[str, bytes],
    model: SingleNetwork,
    scaler: Scaler,
    horizon_steps: int,
    stretches: Stretches,
) -> Iterator[tuple[str, Parity]]:
    """Compare ``model.onnx``, ``live.onnx`` and ``model.pt2`` with PyTorch's roll-out, in turn.

    Yields:
        Name and parity of one of ``files`` after the other.
    """
    model = copy.deepcopy(model).cpu().eval()
    reference = _unscaled(model, scaler, horizon_steps, stretches)
    precise = [stretch.double() for stretch in stretches]
    exact = _unscaled(copy.deepcopy(model).double(), scaler, horizon_steps, precise)
    rounding = float(np.abs(exact - reference).max())
    for name, content in files.items():
        actual = _forecasts(name, content, model.config.history_steps, scaler, stretches)
        difference = np.abs(actual.astype(np.float64) - reference)
        largest, mean = float(difference.max()), float(difference.mean())
        yield name, Parity(largest, mean, rounding, windows=len(reference))


def _unscaled(
    model: SingleNetwork, scaler: Scaler, steps: int, stretches: Stretches
) -> NDArray[np.floating]:
    """Return PyTorch's forecasts after all windows, in order [W, H, N]."""
    history = model.config.history_steps
    forecasts = [
        scaler.unscale(roll_out(model, stretch[at : at + _WINDOWS_PER_RUN + history - 1], steps))
        for stretch in stretches
        for at in range(0, len(stretch) - history + 1, _WINDOWS_PER_RUN)
    ]
    return torch.cat(forecasts).numpy()


def _forecasts(
    name: str, content: bytes, history_steps: int, scaler: Scaler, stretches: Stretches
) -> NDArray[np.float32]:
    readings = [scaler.unscale(stretch) for stretch in stretches]
    if name == "live.onnx":
        streams = [forecast_live(content, one.numpy()) for one in readings]
        return np.concatenate([stream[history_steps - 1 :] for stream in streams])
    windows = torch.cat([one.unfold(0, history_steps, 1).transpose(1, 2) for one in readings])
    if name == "model.onnx":
        return forecast_windows(content, np.ascontiguousarray(windows.numpy()))
    program = load_program(content)
    with torch.inference_mode():
        parts = [program(some) for some in torch.split(windows, _WINDOWS_PER_RUN)]
    return torch.cat(parts).numpy()
