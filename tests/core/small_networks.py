"""Small networks for tests, with random weights and graphs, and readings for them."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from core.families import NetworkConfig
from core.families.astgcn import ASTGCN, ASTGCNConfig
from core.families.networks import SingleNetwork
from core.stgcn import (
    STGCN,
    STGCNConfig,
)

TWO_BLOCKS = ((1, 2, 4), (4, 2, 3))
MIXTURES = [
    {"head": head, "skip": skip, "norm": norm, "horizon_steps": 3, "sensor_rank": 2}
    for head, skip, norm in product(("step", "horizon"), (False, True), ("sensor", "low_rank"))
]
MIXTURES += [{**MIXTURES[0], "missing_mask": True}, {**MIXTURES[-1], "missing_mask": True}]
"""All that a form of a network can be made of."""
each_mixture = pytest.mark.parametrize(
    "mixture", MIXTURES, ids=lambda one: "-".join(str(value) for value in one.values())
)


def random_network(config: STGCNConfig, seed: int = 0) -> STGCN:
    """In float64, every weight random, so that no scale of one or bias of zero hides a mistake.

    The graph is random too and therefore not symmetric, which tells a kernel from its transpose.
    """
    source = torch.Generator().manual_seed(seed)
    model = STGCN(config, _random_kernel(config, source)).double()
    _randomise(model, source)
    return model


def random_astgcn(config: ASTGCNConfig, seed: int = 0) -> ASTGCN:
    """As ``random_network``, of the other family."""
    source = torch.Generator().manual_seed(seed)
    model = ASTGCN(config, _random_kernel(config, source)).double()
    _randomise(model, source)
    return model


def _random_kernel(config: NetworkConfig, source: torch.Generator) -> Tensor:
    N, higher_orders = config.num_sensors, config.chebyshev_order - 1
    higher = torch.randn((higher_orders, N, N), generator=source, dtype=torch.float64)
    return torch.cat([torch.eye(N, dtype=torch.float64)[None], higher])


def _randomise(model: SingleNetwork, source: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=source) / 2)


def edgeless(num_sensors: int) -> Tensor:
    """A graph kernel of order 3 that begins with T_0 = I."""
    return torch.eye(num_sensors).repeat(3, 1, 1)


def readings(*shape: int, seed: int = 1) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=source, dtype=torch.float64)


def histories(
    config: NetworkConfig, windows: int, steps: int | None = None, seed: int = 1
) -> Tensor:
    """What such a network reads [windows, C, steps, N]; by default as many steps as it needs."""
    length = config.history_steps if steps is None else steps
    return readings(windows, config.input_channels, length, config.num_sensors, seed=seed)


Shape = dict[str, Any]


@st.composite
def small_shapes(draw: st.DrawFn) -> Shape:
    """Kernels of 1 to 3, one to three blocks, widths that grow and shrink, 1 to 3 last steps.

    Of the paper's form or any other, with 1 to 3 steps ahead and 1 to 3 numbers of each sensor.

    As keywords: the shape checks draw random numbers, which a strategy must not.
    """
    width = st.integers(1, 3)
    outs = [1, *draw(st.lists(width, min_size=1, max_size=3))]
    channels = tuple((outs[i], draw(width), outs[i + 1]) for i in range(len(outs) - 1))
    kernel_size = draw(st.integers(1, 3))
    return {
        "num_sensors": draw(st.integers(1, 3)),
        "channels": channels,
        "history_steps": 2 * len(channels) * (kernel_size - 1) + draw(st.integers(1, 3)),
        "temporal_kernel_size": kernel_size,
        "chebyshev_order": draw(st.integers(1, 3)),
        "head": draw(st.sampled_from(["step", "horizon"])),
        "skip": draw(st.booleans()),
        "norm": draw(st.sampled_from(["sensor", "low_rank"])),
        "sensor_rank": draw(width),
        "horizon_steps": draw(width),
        "missing_mask": draw(st.booleans()),
    }


@st.composite
def small_astgcn_shapes(draw: st.DrawFn) -> Shape:
    """As ``small_shapes``, of an ASTGCN: one or two blocks, with windows of 2 to 4 steps."""
    width = st.integers(1, 3)
    outs = [1, *draw(st.lists(st.integers(2, 3), min_size=1, max_size=2))]
    return {
        "num_sensors": draw(st.integers(1, 3)),
        "channels": tuple((outs[i], draw(width), outs[i + 1]) for i in range(len(outs) - 1)),
        "history_steps": draw(st.integers(2, 4)),
        "temporal_kernel_size": draw(st.sampled_from([1, 3])),
        "chebyshev_order": draw(width),
        "skip": draw(st.booleans()),
        "missing_mask": draw(st.booleans()),
        "horizon_steps": draw(width),
    }
