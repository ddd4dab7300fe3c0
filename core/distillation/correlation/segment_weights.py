"""Compute the weights of a segment's time steps that make a sum over segments a mean over windows.

A layer of a segment of W consecutive windows has T time steps, its windows have T - W + 1 each:
window w holds the steps w .. w + T - W. A step in several windows is compared once and weighted by
their number. Weights depend on sizes only, so they are cached per size and device and shared: they
must not be modified. Compares nothing itself.
"""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from core.shapes import Signal


def step_weights(signal: Signal, windows_per_segment: int) -> Float[Tensor, " T"]:
    """Return each step's weight in a mean over windows and steps, of ``signal`` [S, C, T, N]."""
    S, _, T, _ = signal.shape
    return _step_weights(S, T, windows_per_segment, signal.device)


def pair_weights(signal: Signal, windows_per_segment: int) -> Float[Tensor, "T T"]:
    """Return the weight of each pair i < j of steps in a mean over windows and pairs; else zero."""
    S, _, T, _ = signal.shape
    return _pair_weights(S, T, windows_per_segment, signal.device)


def lag_weights(signal: Signal, windows_per_segment: int) -> Float[Tensor, "T lags"]:
    """Return ``pair_weights`` by the first step of a pair and the lag of the second, from 1."""
    S, _, T, _ = signal.shape
    return _lag_weights(S, T, windows_per_segment, signal.device)


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def _step_weights(segments: int, steps: int, windows: int, device: torch.device) -> Tensor:
    each = torch.arange(steps, device=device)
    counts = _windows_with(each, each, steps, windows)
    return counts.double() / (segments * windows * (steps - windows + 1))


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def _pair_weights(segments: int, steps: int, windows: int, device: torch.device) -> Tensor:
    each, own = torch.arange(steps, device=device), steps - windows + 1
    counts = _windows_with(each[:, None], each, steps, windows).triu(1)
    return counts.double() / (segments * windows * (own * (own - 1) // 2))


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def _lag_weights(segments: int, steps: int, windows: int, device: torch.device) -> Tensor:
    weights = _pair_weights(segments, steps, windows, device)
    by_lag = [weights.diagonal(lag) for lag in range(1, steps - windows + 1)]
    padded = [F.pad(line, (0, steps - len(line))) for line in by_lag]
    return torch.stack(padded, dim=1)


def _windows_with(first: Tensor, last: Tensor, steps: int, windows: int) -> Tensor:
    """Count the windows of a segment that hold all of ``first`` .. ``last``."""
    latest = first.clamp_max(windows - 1)
    earliest = (last - (steps - windows)).clamp_min(0)
    return (latest - earliest + 1).clamp_min(0)
