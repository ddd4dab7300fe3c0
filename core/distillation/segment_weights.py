"""How often each time step of a segment counts, so that a sum over segments is a mean over windows.

A layer of a segment of W consecutive windows has T time steps, its windows have T - W + 1 each:
window w holds the steps w .. w + T - W. What lies in several windows is compared once and counts
several times.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from core.shapes import Signal


def step_weights(signal: Signal, windows_per_segment: int) -> Float[Tensor, " T"]:
    """Return each step's weight in a mean over windows and steps, of ``signal`` [S, C, T, N]."""
    S, _, T, _ = signal.shape
    steps = torch.arange(T, device=signal.device)
    counts = _windows_with(steps, steps, T, windows_per_segment)
    return counts.double() / (S * windows_per_segment * (T - windows_per_segment + 1))


def pair_weights(signal: Signal, windows_per_segment: int) -> Float[Tensor, "T T"]:
    """Return the weight of each pair i < j of steps in a mean over windows and pairs; else zero."""
    S, _, T, _ = signal.shape
    steps, own = torch.arange(T, device=signal.device), T - windows_per_segment + 1
    counts = _windows_with(steps[:, None], steps, T, windows_per_segment).triu(1)
    return counts.double() / (S * windows_per_segment * (own * (own - 1) // 2))


def _windows_with(first: Tensor, last: Tensor, steps: int, windows: int) -> Tensor:
    """Count the windows of a segment that hold all of ``first`` .. ``last``."""
    latest = first.clamp_max(windows - 1)
    earliest = (last - (steps - windows)).clamp_min(0)
    return (latest - earliest + 1).clamp_min(0)
