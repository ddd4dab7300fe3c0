"""Measure the parameters, FLOPs and latency of networks.

Several networks are timed in turns within one run, so that other load on the machine affects all of
them alike: their ratios can be compared across runs, their times cannot. Does not train or compute
errors.
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
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from core.compiler_import import leave_compiler_out
from core.ensemble import Network
from core.errors import ConfigError
from core.evaluation.forecasting import roll_out

FEWEST_ROUNDS = 5
"""Rounds that are timed even if the time limit has passed."""
FORECAST_ROUNDS = 60
FORECAST_SECONDS = 0.3
"""Limits for timing one forecast: the number of rounds, and the seconds after which it stops."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Timing:
    """Latencies of forward passes of several networks over ``windows`` windows."""

    windows: int
    threads: int
    """CPU threads of torch."""
    device: str
    milliseconds: NDArray[np.float64]
    """[rounds, networks]: every network runs once per round."""

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
    models: Sequence[Network], windows: int, rounds: int = 30, seconds: float = 20.0
) -> Timing:
    """Time one forward pass of each network, in turns.

    A pass predicts the next step of ``windows`` windows, without gradients and on torch's current
    number of threads.

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
    readings = _windows(models[0], windows)
    works = [partial(model, model.signal(readings)) for model in models]
    taken = _timed(works, readings, rounds, seconds)
    return Timing(windows, torch.get_num_threads(), str(readings.device), taken)


def forecast_latency(model: Network, steps: int) -> float:
    """Return the milliseconds that one forecast of ``steps`` readings from one window takes.

    The shortest of up to ``FORECAST_ROUNDS`` rounds on one CPU thread, in CPU time of that thread:
    waiting for a busy core does not count, and the effect of other processes on the caches can
    only lengthen a round. It depends on the network's shape, not on its weights.
    """
    readings = _windows(model, 1)[0]
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
    """Run all ``works`` in turns; return milliseconds [rounds, works]."""
    _round(works, on, clock)  # warm-up: the first passes allocate memory and choose kernels
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
    # Calls on a GPU are asynchronous.
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)


def _windows(model: Network, windows: int) -> Tensor:
    shape = (windows, model.config.history_steps, model.config.num_sensors)
    readings = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return readings.to(model.graph_kernel.device)


def count_parameters(model: Network) -> int:
    """Return the number of weights, as in Table 1."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_flops(model: Network) -> int:
    """Return the floating-point operations of one forward pass over one window.

    Counts convolutions and matrix products; a multiply-add is two operations.
    """
    config = model.config
    device = model.graph_kernel.device
    shape = (1, config.input_channels, config.history_steps, config.num_sensors)
    window = torch.zeros(shape, device=device)
    # The counter refuses weights that a layer is given by another, unless they take no gradient.
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    leave_compiler_out()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        functional_call(model, weights, (window,))
    return int(counter.get_total_flops())
