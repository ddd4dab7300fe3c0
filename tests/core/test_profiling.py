from __future__ import annotations

import pytest
import torch

from core.profiling import count_flops, count_parameters
from core.stgcn import PRUNING_BASE_CHANNELS, STGCN, STUDENT_CHANNELS, TEACHER_CHANNELS, STGCNConfig

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

    The final linear map is a product with a vector, which torch's counter leaves out.
    """
    N, K, Kt = config.num_sensors, config.chebyshev_order, config.temporal_kernel_size

    def temporal(steps: int, incoming: int, outgoing: int, kernel: int, widened: int) -> int:
        projection = steps * outgoing * incoming if incoming > outgoing else 0
        return (steps * widened * kernel * incoming + projection) * N

    steps, total = config.history_steps, 0
    for incoming, hidden, outgoing in config.channels:
        steps -= Kt - 1
        total += temporal(steps, incoming, hidden, Kt, 2 * hidden)
        total += steps * hidden * (K - 1) * N * N + steps * K * hidden * hidden * N
        steps -= Kt - 1
        total += temporal(steps, hidden, outgoing, Kt, outgoing)
    width = config.channels[-1][2]
    total += temporal(1, width, width, steps, 2 * width) + width * width * N
    return 2 * total


@pytest.mark.parametrize(
    "config",
    [
        STGCNConfig(7, STUDENT_CHANNELS),
        STGCNConfig(5, ((1, 6, 3), (3, 2, 4)), temporal_kernel_size=2, chebyshev_order=4),
    ],
    ids=["student", "narrowing"],
)
def test_flops_are_those_of_all_products(config: STGCNConfig) -> None:
    assert count_flops(network(config)) == flops_by_hand(config)


def test_counting_changes_nothing() -> None:
    model = network(STGCNConfig(4, STUDENT_CHANNELS))
    before = [parameter.clone() for parameter in model.parameters()]
    count_flops(model)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
