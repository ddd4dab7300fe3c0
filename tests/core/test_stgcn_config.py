from __future__ import annotations

import json

import jaxtyping
import pytest
import torch
from hypothesis import given

from core.errors import ConfigError, ShapeError
from core.forms import FORMS
from core.stgcn import (
    STGCN,
    STGCNConfig,
)
from tests.core.small_networks import (
    TWO_BLOCKS,
    each_mixture,
    edgeless,
    histories,
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
        ({"sensor_rank": 0}, "sensor_rank and horizon_steps must be at least 1, got 0 and 9"),
        ({"horizon_steps": 0}, "must be at least 1, got 4 and 0"),
    ],
)
def test_refuses_shapes_that_no_network_can_have(fields, text):
    with pytest.raises(ConfigError, match=text):
        STGCNConfig(**{"num_sensors": 6, **fields})


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"head": "tail"}, "head must be step or horizon, got 'tail'"),
        ({"norm": "batch"}, "norm must be sensor or low_rank, got 'batch'"),
        ({"skip": "yes"}, "skip must be true or false, got 'yes'"),
        ({"missing_mask": 1}, "missing_mask must be true or false, got 1"),
    ],
)
def test_refuses_forms_that_there_are_not(fields, text, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users have it
    with pytest.raises(ConfigError, match=text):
        STGCNConfig(6, **fields)


def test_one_step_left_for_the_output_block_is_enough():
    assert STGCNConfig(6, history_steps=9).output_kernel_size == 1
    assert STGCNConfig(6).output_kernel_size == 4


@given(shape=small_shapes())
def test_config_goes_to_json_and_back(shape):
    config = STGCNConfig(**shape)
    assert STGCNConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert STGCNConfig.from_json(config.to_json()) == config


@each_mixture
def test_only_what_differs_from_the_papers_form_is_written(mixture):
    paper, config = STGCNConfig(6, TWO_BLOCKS), STGCNConfig(6, TWO_BLOCKS, **mixture)
    wanted = {}
    if mixture["head"] == "horizon":
        wanted |= {"head": "horizon", "horizon_steps": 3}
    if mixture["skip"]:
        wanted |= {"skip": True}
    if mixture["norm"] == "low_rank":
        wanted |= {"norm": "low_rank", "sensor_rank": 2}
    if mixture.get("missing_mask"):
        wanted |= {"missing_mask": True}
    assert config.to_json() == {**paper.to_json(), **wanted}
    assert STGCNConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_what_has_no_meaning_makes_no_other_network():
    assert STGCNConfig(6, sensor_rank=7, horizon_steps=3) == STGCNConfig(6)
    assert STGCNConfig(6, **vars(FORMS["paper"].network)) == STGCNConfig(6)


@each_mixture
def test_a_skip_begins_at_repeating_the_last_reading(mixture):
    torch.manual_seed(0)
    model = STGCN(STGCNConfig(4, ((1, 8, 16), (16, 8, 24)), **mixture), edgeless(4))
    history = histories(model.config, 2, 14).float()
    with torch.no_grad():
        prediction, _ = model(history)
    newest = history[:, 0, -3:]
    if mixture["head"] == "horizon":
        newest = newest[:, :, None].expand_as(prediction)
    furthest = float((prediction - newest).abs().max())
    assert furthest < 0.02 if mixture["skip"] else furthest > 0.5


def test_fresh_low_rank_norms_know_no_sensor_and_can_learn_all():
    torch.manual_seed(0)
    model = STGCN(STGCNConfig(50, TWO_BLOCKS, norm="low_rank", sensor_rank=4), edgeless(50))
    plain = STGCN(STGCNConfig(50, TWO_BLOCKS), edgeless(50))
    weights = {name: one for name, one in model.state_dict().items() if name in plain.state_dict()}
    shared = {name: one for name, one in weights.items() if "norm" not in name}
    plain.load_state_dict({**shared, "output.bias": torch.zeros(50)}, strict=False)
    history = readings(2, 1, 14, 50).float()
    torch.testing.assert_close(model(history)[0], plain(history)[0])
    model(history)[0].square().mean().backward()
    for name, weight in model.named_parameters():
        if name.endswith("_map"):
            assert weight.grad.abs().sum() > 0
    assert model.sensors.std().item() == pytest.approx(0.5, rel=0.2)


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
