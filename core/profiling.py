"""A network in, its size, arithmetic and speed out.

Speeds of several networks are measured in turns within one run, so that whatever else slows the
machine slows them alike: only their ratios carry over to another day. Trains and judges nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from core.errors import ConfigError
from core.stgcn import STGCN

FEWEST_ROUNDS = 5
"""Counted however long they take."""


@dataclass(frozen=True)
class Timing:
    """How long passes of several networks over so many windows took."""

    windows: int
    threads: int
    """Of torch, on the CPU."""
    device: str
    milliseconds: NDArray[np.float64]
    """[rounds, networks]: in each round every network ran once."""

    def quantiles(self, network: int) -> dict[str, float]:
        """Return ``p10``, ``p50`` and ``p90`` of one network in milliseconds."""
        values = np.quantile(self.milliseconds[:, network], (0.1, 0.5, 0.9))
        return {
            name: float(value) for name, value in zip(("p10", "p50", "p90"), values, strict=True)
        }

    def speedup(self, network: int, reference: int) -> float:
        """Return how many times faster ``network`` is: the median over rounds."""
        ratios = self.milliseconds[:, reference] / self.milliseconds[:, network]
        return float(np.median(ratios))


def measure_latency(
    models: Sequence[STGCN], windows: int, rounds: int = 30, seconds: float = 20.0
) -> Timing:
    """Time one forward pass of each network, in turns.

    A pass predicts the next step of ``windows`` windows that are there already; no gradients are
    kept. Uses as many threads as torch is set to.

    Args:
        models: on one device, over the same sensors and history.
        windows: B.
        rounds: counted passes of each network, after a warm-up.
        seconds: stop after this time even if fewer rounds ran, but not before five have.

    Raises:
        ConfigError: ``windows`` or ``rounds`` is below 1.
    """
    for name, value in (("windows", windows), ("rounds", rounds)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    history = _windows(models[0], windows)
    _round(models, history)  # the first passes allocate memory and choose kernels
    until = time.perf_counter() + seconds
    taken: list[list[float]] = []
    while len(taken) < rounds and (len(taken) < FEWEST_ROUNDS or time.perf_counter() < until):
        taken.append(_round(models, history))
    return Timing(windows, torch.get_num_threads(), str(history.device), np.array(taken))


def _round(models: Sequence[STGCN], history: Tensor) -> list[float]:
    return [_milliseconds(model, history) for model in models]


@torch.inference_mode()
def _milliseconds(model: STGCN, history: Tensor) -> float:
    _wait_for(history)
    start = time.perf_counter()
    model(history)
    _wait_for(history)
    return (time.perf_counter() - start) * 1e3


def _wait_for(tensor: Tensor) -> None:
    # A GPU's calls return before their work is done.
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)


def _windows(model: STGCN, windows: int) -> Tensor:
    shape = (windows, 1, model.config.history_steps, model.config.num_sensors)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(
        model.graph_kernel.device
    )


def count_parameters(model: STGCN) -> int:
    """Return the number of weights, as in Table 1."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_flops(model: STGCN) -> int:
    """Return the floating-point operations of one forward pass over one window.

    Counts convolutions and matrix products; a multiply-add is two operations.
    """
    config = model.config
    device = model.graph_kernel.device
    window = torch.zeros(1, 1, config.history_steps, config.num_sensors, device=device)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(window)
    return int(counter.get_total_flops())
