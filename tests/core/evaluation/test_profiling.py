from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import core.evaluation.profiling
from core.errors import ConfigError
from core.evaluation.profiling import (
    Timing,
    count_flops,
    count_parameters,
    forecast_latency,
    measure_latency,
)
from core.stgcn import PRUNING_BASE_CHANNELS, STGCN, STUDENT_CHANNELS, TEACHER_CHANNELS, STGCNConfig
from tests.core.small_networks import each_mixture

# Table 1.
PUBLISHED = {
    (228, TEACHER_CHANNELS): 333_604,
    (228, PRUNING_BASE_CHANNELS): 48_628,
    (228, STUDENT_CHANNELS): 10_144,
    (170, TEACHER_CHANNELS): 296_426,
    (170, PRUNING_BASE_CHANNELS): 39_290,
    (170, STUDENT_CHANNELS): 7_766,
}


def network(config: STGCNConfig) -> STGCN:
    sensors, order = config.num_sensors, config.chebyshev_order
    return STGCN(config, torch.eye(sensors).repeat(order, 1, 1))


@pytest.mark.parametrize(("shape", "parameters"), PUBLISHED.items(), ids=str)
def test_parameters_of_table_1(shape: tuple[int, tuple], parameters: int) -> None:
    assert count_parameters(network(STGCNConfig(*shape))) == parameters


def flops_by_hand(config: STGCNConfig) -> int:
    """Multiply-adds of every matrix product, twice, layer by layer.

    The final map to one value is a product with a vector, which torch's counter leaves out.
    """
    N, K, Kt = config.num_sensors, config.chebyshev_order, config.temporal_kernel_size

    def temporal(steps: int, incoming: int, outgoing: int, kernel: int, widened: int) -> int:
        projection = steps * outgoing * incoming if incoming > outgoing else 0
        return (steps * widened * kernel * incoming + projection) * N

    steps, total = config.history_steps, 0
    (_, *first), *others = config.channels
    for incoming, hidden, outgoing in [(config.input_channels, *first), *others]:
        steps -= Kt - 1
        total += temporal(steps, incoming, hidden, Kt, 2 * hidden)
        total += steps * hidden * (K - 1) * N * N + steps * K * hidden * hidden * N
        steps -= Kt - 1
        total += temporal(steps, hidden, outgoing, Kt, outgoing)
    width = config.channels[-1][2]
    total += temporal(1, width, width, steps, 2 * width) + width * width * N
    if config.head == "horizon":
        total += config.horizon_steps * width * N
    if config.norm == "low_rank":  # a scale and a shift of every sensor, per channel
        normed = sum(outgoing for _, _, outgoing in config.channels) + width
        total += 2 * normed * config.sensor_rank * N
    return 2 * total


@each_mixture
@pytest.mark.parametrize(
    "config",
    [
        STGCNConfig(7, STUDENT_CHANNELS),
        STGCNConfig(5, ((1, 6, 3), (3, 2, 4)), temporal_kernel_size=2, chebyshev_order=4),
    ],
    ids=["student", "narrowing"],
)
def test_flops_are_those_of_all_products(config: STGCNConfig, mixture: dict[str, Any]) -> None:
    config = replace(config, **mixture)
    assert count_flops(network(config)) == flops_by_hand(config)


def test_counting_changes_nothing() -> None:
    model = network(STGCNConfig(4, STUDENT_CHANNELS))
    before = [parameter.clone() for parameter in model.parameters()]
    count_flops(model)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())


class CountingNetwork(STGCN):
    passes: list[tuple[int, ...]]

    def forward(self, history: torch.Tensor) -> object:
        assert torch.is_inference_mode_enabled()
        self.passes.append(tuple(history.shape))
        return super().forward(history)


def counting_network(passes: list[tuple[int, ...]]) -> CountingNetwork:
    model = CountingNetwork(STGCNConfig(4, STUDENT_CHANNELS), torch.eye(4).repeat(3, 1, 1))
    model.passes = passes
    return model


def test_networks_are_timed_in_turns_after_a_warm_up() -> None:
    turns: list[str] = []

    class Names(list):
        def __init__(self, name: str) -> None:
            self.name = name

        def append(self, shape: tuple[int, ...]) -> None:
            assert shape == (3, 1, 12, 4)
            turns.append(self.name)

    models = [counting_network(Names("student")), counting_network(Names("teacher"))]
    timing = measure_latency(models, windows=3, rounds=7)
    assert turns == ["student", "teacher"] * 8
    assert timing.milliseconds.shape == (7, 2)
    assert (timing.windows, timing.device) == (3, "cpu")
    assert timing.threads == torch.get_num_threads()
    assert (timing.milliseconds > 0).all()


def test_time_runs_out_but_five_rounds_are_counted() -> None:
    timing = measure_latency([counting_network([])], windows=1, rounds=30, seconds=0.0)
    assert timing.milliseconds.shape == (5, 1)


def test_a_forecast_is_timed_on_one_thread_and_by_its_shortest_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    rolled: list[tuple[torch.Size, int, int]] = []

    def roll_out(model: STGCN, readings: torch.Tensor, steps: int) -> None:
        rolled.append((readings.shape, steps, torch.get_num_threads()))

    # A warm-up that does not count, the start, then rounds of 5, 3 and 4 seconds.
    ticks = iter([0.0, 0.5, 0.0, 1.0, 6.0, 10.0, 13.0, 20.0, 24.0])
    monkeypatch.setattr(core.evaluation.profiling, "roll_out", roll_out)
    monkeypatch.setattr(core.evaluation.profiling, "FORECAST_ROUNDS", 3)
    monkeypatch.setattr(core.evaluation.profiling.time, "thread_time", lambda: next(ticks))
    try:
        assert forecast_latency(counting_network([]), steps=9) == 3000.0
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert rolled == [(torch.Size([12, 4]), 9, 1)] * 4


def test_a_wider_network_takes_longer_to_forecast() -> None:
    small, large = (
        forecast_latency(network(STGCNConfig(64, channels)), steps=9)
        for channels in (STUDENT_CHANNELS, TEACHER_CHANNELS)
    )
    assert 0 < small < large


def test_quantiles_and_speedup_are_those_of_the_rounds() -> None:
    rounds = np.array([[1.0, 10.0], [2.0, 40.0], [3.0, 30.0], [4.0, 120.0], [5.0, 100.0]])
    timing = Timing(1, 1, "cpu", rounds)
    assert timing.quantiles(0) == pytest.approx({"p10": 1.4, "p50": 3.0, "p90": 4.6})
    assert timing.speedup(0, reference=1) == 20.0
    assert timing.speedup(1, reference=0) == 0.05


@pytest.mark.parametrize("wrong", [{"windows": 0}, {"windows": 1, "rounds": 0}])
def test_no_less_than_one_window_and_one_round(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be at least 1, got 0"):
        measure_latency([counting_network([])], **wrong)
