from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given

from core.errors import ConfigError, ShapeError
from core.stgcn import (
    STGCN,
    STGCNConfig,
)
from tests.core.small_networks import (
    TWO_BLOCKS,
    edgeless,
    random_network,
    readings,
    small_shapes,
)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"num_sensors": 0}, "must be at least 1, got 0, 3 and 3"),
        ({"temporal_kernel_size": 0}, "must be at least 1, got 6, 0 and 3"),
        ({"chebyshev_order": 0}, "must be at least 1, got 6, 3 and 0"),
        ({"channels": ()}, r"triples of positive widths, one per block, got \(\)"),
        ({"channels": ((1, 0, 4),)}, "triples of positive widths"),
        ({"channels": ((2, 2, 4),)}, "must start at 1"),
        ({"channels": ((1, 2, 4), (3, 2, 4))}, "must take what the one before gives"),
        ({"history_steps": 8}, "history_steps must exceed 8 .* got 8"),
        ({"channels": (*TWO_BLOCKS, (3, 2, 2))}, "history_steps must exceed 12 .* got 12"),
    ],
)
def test_refuses_shapes_that_no_network_can_have(fields, text):
    with pytest.raises(ConfigError, match=text):
        STGCNConfig(**{"num_sensors": 6, **fields})


def test_one_step_left_for_the_output_block_is_enough():
    assert STGCNConfig(6, history_steps=9).output_kernel_size == 1
    assert STGCNConfig(6).output_kernel_size == 4


@given(shape=small_shapes())
def test_config_goes_to_json_and_back(shape):
    config = STGCNConfig(**shape)
    assert STGCNConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert STGCNConfig.from_json(config.to_json()) == config


def test_refuses_a_graph_of_another_size():
    text = r"must have shape \[3, 4, 4\] to fit the config, got \[2, 4, 4\]"
    with pytest.raises(ShapeError, match=text):
        STGCN(STGCNConfig(4, TWO_BLOCKS), edgeless(4)[:2])


def test_refuses_a_graph_that_does_not_begin_with_the_identity():
    with pytest.raises(ShapeError, match="must begin with T_0 = I, got another matrix"):
        STGCN(STGCNConfig(4, TWO_BLOCKS), edgeless(4).flip(1))


def test_refuses_less_than_a_window():
    model = random_network(STGCNConfig(4, TWO_BLOCKS))
    with pytest.raises(ShapeError, match="at least 12 time steps, got 11"):
        model(readings(1, 1, 11, 4))


def test_the_graph_is_no_weight():
    model = random_network(STGCNConfig(4, TWO_BLOCKS))
    assert "graph_kernel" not in model.state_dict()
    assert "graph_kernel" not in dict(model.named_parameters())
    assert model.to(torch.float32).graph_kernel.dtype == torch.float32


def test_fresh_weights_are_glorot_uniform_and_biases_zero():
    torch.manual_seed(0)
    model = STGCN(STGCNConfig(4, ((1, 40, 40), (40, 40, 40))), edgeless(4))
    for name, value in model.named_parameters():
        if name.endswith(("bias", "shift")):
            assert not value.any()
        elif name.endswith("scale"):
            assert (value == 1).all()
    bounds = {"first": (6 / (3 * 40 + 3 * 80)) ** 0.5, "spatial": (6 / (3 * 40 + 40)) ** 0.5}
    for name, bound in bounds.items():
        largest = model.get_parameter(f"blocks.1.{name}.weight").abs().max()
        assert 0.99 * bound < largest <= bound
    bound = (6 / 41) ** 0.5
    assert 0.8 * bound < model.output.weight.abs().max() <= bound
