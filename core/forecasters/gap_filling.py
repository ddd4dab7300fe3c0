"""Fill missing readings inside a forecaster, by the rule that networks are trained on.

A reading that is NaN becomes the sensor's last one, before its first what it usually reads
(``core.preprocessing.gaps``). Inside a forecaster the time of day is not known, so usual is a mean
over the day. Only torch operations that ONNX has too, and no loop over time. Reads no files.

Axes: B windows, M time steps of a window, N sensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from core.preprocessing.gaps import CausalFill


@dataclass(frozen=True)
class GapFilling:
    """How a forecaster fills gaps."""

    usual: Float[Tensor, " N"]
    """What stands in before a sensor's first reading, in the readings' unit."""
    limit_steps: int
    """Longest gap after which a sensor still has a forecast; beyond it has NaN."""


def gap_filling(fill: CausalFill, limit_steps: int) -> GapFilling:
    """Return how a forecaster fills gaps that training filled by ``fill``."""
    usual = fill.usual.mean(axis=0, dtype=np.float64).astype(np.float32)
    return GapFilling(torch.from_numpy(usual), limit_steps)


def fill_windows(
    readings: Float[Tensor, "B M N"], filling: GapFilling
) -> tuple[Float[Tensor, "B M N"], Float[Tensor, "B M N"], Float[Tensor, "B M N"]]:
    """Fill the gaps of windows.

    Args:
        readings: NaN where nothing was measured.
        filling: how.

    Returns:
        The readings without gaps, one where they were filled and zero elsewhere, and how many
        readings in a row have been filled up to each.
    """
    steps = readings.shape[1]
    missing = readings.isnan()
    # Positions count from 1, so that 0 can say that nothing has been measured yet.
    position = torch.arange(1, steps + 1, dtype=readings.dtype)[:, None]
    measured = torch.where(missing, 0.0, position)
    padded = F.pad(measured.transpose(1, 2), (steps - 1, 0))
    newest = F.max_pool1d(padded, steps, stride=1).transpose(1, 2)
    carried = torch.where(missing, 0.0, readings).gather(1, (newest.long() - 1).clamp(min=0))
    filled = torch.where(newest > 0, carried, filling.usual)
    return filled, missing.to(readings.dtype), position - newest


def next_age(reading: Float[Tensor, " N"], age: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return the age of each sensor's last reading after a new row.

    Args:
        reading: NaN where nothing was measured.
        age: before the row: of a sensor that has been read, rows since then, that of the reading
            included; of any other, minus the rows that have passed.
    """
    older = torch.where(age > 0, age + 1, age - 1)
    return torch.where(reading.isnan(), older, torch.ones_like(age))


def filled_in_a_row(age: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return how many readings in a row have been filled at a certain age (``next_age``)."""
    return torch.where(age > 0, age - 1, -age)
