"""ASTGCN against a naive restatement, window by window, and its sizes by formula."""

from __future__ import annotations

import re

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, ShapeError
from core.evaluation.forecasting import roll_out
from core.evaluation.profiling import count_flops, count_parameters
from core.families.astgcn import ASTGCN, ASTGCNConfig
from tests.core.small_networks import (
    edgeless,
    histories,
    random_astgcn,
    readings,
    small_astgcn_shapes,
)
from tests.oracles import astgcn_oracle as oracle

SMALL = ASTGCNConfig(4, ((1, 3, 2), (2, 2, 3)), history_steps=5, horizon_steps=3)


def network(config: ASTGCNConfig, seed: int = 0) -> ASTGCN:
    torch.manual_seed(seed)
    return ASTGCN(config, edgeless(config.num_sensors))


@settings(max_examples=25, deadline=None)
@given(shape=small_astgcn_shapes(), seed=st.integers(0, 1000))
def test_each_window_is_as_the_equations_say(shape, seed):
    model = random_astgcn(ASTGCNConfig(**shape), seed)
    M = model.config.history_steps
    history = histories(model.config, windows=1, steps=M + 1, seed=seed)
    with torch.no_grad():
        prediction, features = model(history)
    assert prediction.shape == (1, 2, model.config.horizon_steps, model.config.num_sensors)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    for start in range(2):
        window = history[0, :, start : start + M].numpy()
        kernel, kept = model.graph_kernel.numpy(), model.config.kept_channels
        wanted, layers = oracle.predict(weights, kernel, kept, window, model.config.skip)
        np.testing.assert_allclose(prediction[0, start], wanted, rtol=0, atol=1e-9)
        for kind in ("temporal", "spatial"):
            pairs = zip(getattr(features, kind), getattr(layers, kind), strict=True)
            for found, layer in pairs:
                np.testing.assert_allclose(found[start], layer, rtol=0, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(shape=small_astgcn_shapes())
def test_parameters_are_those_of_the_formula(shape):
    config = ASTGCNConfig(**shape)
    assert count_parameters(random_astgcn(config)) == config.parameters


def test_parameters_by_hand():
    """228 sensors, one block of 64 filters each: as one counts them in the paper's equations."""
    config = ASTGCNConfig(228, ((1, 64, 64),))
    steps = 228 + 1 * 228 + 1 + 2 * 12 * 12
    sensors = 12 + 1 * 12 + 1 + 2 * 228 * 228
    graph = 3 * 1 * 64 + 64
    time = 3 * 64 * 64 + 64 + 1 * 64
    norm, head = 2 * 64, 9 * 12 * 64 + 9
    assert config.parameters == steps + sensors + graph + time + norm + head


def flops_by_hand(config: ASTGCNConfig) -> int:
    """Multiply-adds of every matrix product over one window, twice, layer by layer."""
    N, T, K = config.num_sensors, config.history_steps, config.chebyshev_order
    size, total = config.temporal_kernel_size, 0
    signal = config.input_channels
    for _, filters, out in config.channels:
        read = T * signal * N  # multiply-adds of one product of the signal with a vector
        total += read + read + read + T * T * N + T**3  # temporal attention: U1, U2, U3, both, V
        total += T * read  # which mixes the steps
        total += read + read + read + N * T * N + N**3  # spatial attention, alike
        total += (K - 1) * read * N + T * filters * K * signal * N
        total += T * out * size * filters * N + read * out
        signal = out
    return 2 * (total + config.horizon_steps * T * signal * N)


@pytest.mark.parametrize("mask", [False, True])
def test_flops_are_those_of_all_products(mask):
    config = ASTGCNConfig(7, ((1, 3, 4), (4, 2, 5)), chebyshev_order=3, missing_mask=mask)
    assert count_flops(network(config)) == flops_by_hand(config)


def test_a_mask_is_read():
    config = ASTGCNConfig(**{**vars(SMALL), "missing_mask": True})
    model, seen = random_astgcn(config), readings(1, 5, 4)
    missing = torch.zeros(1, 5, 4)
    missing[0, 2, 1] = 1
    assert torch.equal(model(model.signal(seen))[0], model(model.signal(seen, missing * 0))[0])
    assert not torch.equal(model(model.signal(seen))[0], model(model.signal(seen, missing))[0])
    without = random_astgcn(SMALL)
    assert torch.equal(without.signal(seen, missing), seen[:, None])


@pytest.mark.parametrize("piece", [1, 3])
def test_it_streams_what_it_forwards(piece):
    model, M = random_astgcn(SMALL), SMALL.history_steps
    seen = histories(SMALL, windows=2, steps=M + 6)
    whole, _ = model(seen)
    first, _, inputs = model.stream(seen[:, :, :M], None)
    found = [first]
    for columns in torch.split(seen[:, :, M:], piece, dim=2):
        ahead, _, inputs = model.stream(columns, model.last_tails(inputs))
        found.append(ahead)
    torch.testing.assert_close(torch.cat(found, dim=1), whole, rtol=0, atol=1e-12)


def test_it_is_not_equivariant_in_its_hidden_layers():
    """A step's hidden values depend on the window: why targets are stored per window."""
    model, seen = random_astgcn(SMALL), histories(SMALL, windows=1, steps=SMALL.history_steps + 1)
    _, features = model(seen)
    for layer in features.temporal + features.spatial:
        assert layer.shape[0] == 2
        assert not torch.allclose(layer[0, :, 1:], layer[1, :, :-1])


def test_a_forecast_is_one_pass():
    model, seen = random_astgcn(SMALL), readings(9, 4)
    expected = torch.stack([model(seen[None, None, at : at + 5])[0][0, 0] for at in range(5)])
    torch.testing.assert_close(roll_out(model, seen, 3), expected)
    with pytest.raises(ConfigError, match="no more than the 3 steps it predicts, got 4"):
        roll_out(model, seen, 4)


def test_a_skip_begins_near_repeating_the_last_reading():
    config = ASTGCNConfig(**{**vars(SMALL), "skip": True})
    seen = readings(2, 5, 4).float()
    repeated = seen[:, None, -1:].expand(-1, 1, 3, -1)
    ahead = network(config)(seen[:, None])[0]
    assert (ahead - repeated).abs().max() < 0.2
    assert (network(SMALL)(seen[:, None])[0] - repeated).abs().max() > 1


def test_one_seed_is_one_network():
    first, again, other = (network(SMALL, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    assert differing == {name for name in first if not re.search("bias|norm", name)}


@settings(max_examples=25, deadline=None)
@given(shape=small_astgcn_shapes())
def test_config_goes_to_json_and_back(shape):
    config = ASTGCNConfig(**shape)
    pruned = config.with_widths(config.fewest_widths)
    for one in (config, pruned):
        assert ASTGCNConfig.from_json(one.to_json()) == one


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_sensors": 0}, "num_sensors must be at least 1, got 0"),
        ({"temporal_kernel_size": 2}, "temporal_kernel_size must be odd.* got 2"),
        ({"channels": ((1, 2, 3), (2, 2, 2))}, "each block must take what the one before gives"),
        ({"channels": ()}, "triples of positive widths"),
        ({"skip": 1}, "skip must be true or false, got 1"),
        ({"kept": ((0,),)}, "must name the channels of 4 layers, got 1"),
        ({"kept": ((0,), (0,), (), (0,))}, "at least one channel per layer"),
        ({"channels": ((1, 2, 1),)}, r"at least 2 channels, .*, got \[1\]"),
        ({"kept": ((0,), (0, 1), (0,), (2,))}, r"at least 2 channels, .*, got \[2, 1\]"),
    ],
)
def test_refuses_shapes_no_network_can_have(fields, said, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users have it
    with pytest.raises(ConfigError, match=said):
        ASTGCNConfig(**{**vars(SMALL), **fields})


def test_refuses_what_does_not_fit():
    with pytest.raises(ShapeError, match="at least 5 time steps, got 4"):
        network(SMALL)(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ShapeError, match=r"graph_kernel must have shape \[3, 4, 4\]"):
        ASTGCN(SMALL, edgeless(5))
    with pytest.raises(ConfigError, match="an ASTGCN has no setting 'norm'"):
        ASTGCNConfig.from_json({**SMALL.to_json(), "norm": "sensor"})
