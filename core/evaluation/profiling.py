"""A network in, its size, arithmetic and speed out.

Speeds of several networks are measured in turns within one run, so that whatever else slows the
machine slows them alike: only their ratios carry over to another day. Trains and judges nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from core.errors import ConfigError
from core.evaluation.forecasting import roll_out
from core.stgcn import STGCN

FEWEST_ROUNDS = 5
"""Counted however long they take."""
FORECAST_ROUNDS = 60
FORECAST_SECONDS = 0.3
"""Most rounds of one forecast's timing, and after how long it stops even if fewer ran."""

Clock = Callable[[], float]


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
    taken = _timed([partial(model, history) for model in models], history, rounds, seconds)
    return Timing(windows, torch.get_num_threads(), str(history.device), taken)


def forecast_latency(model: STGCN, steps: int) -> float:
    """Return the milliseconds that one forecast of ``steps`` readings from one window takes.

    The shortest of up to ``FORECAST_ROUNDS`` on one CPU thread, by the time that this thread ran:
    waiting for a core that others keep busy does not count, and what else they do to the caches
    can only lengthen a round. It depends on the network's shape, not on its weights.
    """
    readings = _windows(model, 1)[0, 0]
    with _one_thread():
        work = partial(roll_out, model, readings, steps)
        limits = FORECAST_ROUNDS, FORECAST_SECONDS
        return float(_timed([work], readings, *limits, clock=time.thread_time).min())


def _timed(
    works: Sequence[Callable[[], object]],
    on: Tensor,
    rounds: int,
    seconds: float,
    clock: Clock = time.perf_counter,
) -> NDArray[np.float64]:
    """Run all works in turns; return milliseconds [rounds, works]."""
    _round(works, on, clock)  # the first passes allocate memory and choose kernels
    until = clock() + seconds
    taken: list[list[float]] = []
    while len(taken) < rounds and (len(taken) < FEWEST_ROUNDS or clock() < until):
        taken.append(_round(works, on, clock))
    return np.array(taken)


def _round(works: Sequence[Callable[[], object]], on: Tensor, clock: Clock) -> list[float]:
    return [_milliseconds(work, on, clock) for work in works]


@torch.inference_mode()
def _milliseconds(work: Callable[[], object], on: Tensor, clock: Clock) -> float:
    _wait_for(on)
    start = clock()
    work()
    _wait_for(on)
    return (clock() - start) * 1e3


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
