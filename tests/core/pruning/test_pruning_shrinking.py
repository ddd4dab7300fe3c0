from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.checkpoint import load_model, save_model
from core.errors import CheckpointError, ConfigError
from core.evaluation.profiling import count_parameters
from core.pruning.shrinking import shrink, shrink_optimizer
from core.stgcn import (
    PRUNING_BASE_CHANNELS,
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
from tests.oracles import masked_stgcn_oracle as oracle

Kept = tuple[tuple[int, ...], ...]
WIDER = {"num_sensors": 3, "channels": ((1, 4, 3), (3, 2, 4)), "history_steps": 10}
"""A residual that grows, one that stays, two that shrink."""
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
}


@st.composite
def masks(draw: st.DrawFn, layers: Kept) -> Kept:
    """Any channels of every layer, at least one."""
    return tuple(
        tuple(sorted(draw(st.sets(st.sampled_from(layer), min_size=1)))) for layer in layers
    )


@st.composite
def shapes_and_masks(draw: st.DrawFn) -> tuple[dict, Kept]:
    """As keywords: the shape checks draw random numbers, which a strategy must not."""
    shape = draw(st.one_of(small_shapes(), st.just(WIDER)))
    blocks = shape["channels"]
    widths = [width for block in blocks for width in (block[1], block[1], block[2])]
    widths += [blocks[-1][2]] * 2
    return shape, draw(masks(tuple(tuple(range(width)) for width in widths)))


def weights_of(model: STGCN) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model.state_dict().items()}


def assert_same_bits(found: STGCN, wanted: STGCN) -> None:
    assert found.config == wanted.config
    assert found.state_dict().keys() == wanted.state_dict().keys()
    for name, value in wanted.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


# The network


@settings(max_examples=40, deadline=None)
@given(drawn=shapes_and_masks(), seed=st.integers(0, 1000))
def test_the_shrunk_network_equals_the_masked_one(drawn, seed):
    shape, kept = drawn
    model = random_network(STGCNConfig(**shape), seed)
    smaller = shrink(model, kept)
    history = histories(model.config, 2, seed=seed)
    with torch.no_grad():
        prediction, features = smaller(history)
    assert count_parameters(smaller) == smaller.config.parameters
    for index, window in enumerate(history):
        wanted, layers = oracle.predict(
            weights_of(model),
            model.graph_kernel.numpy(),
            kept,
            window.numpy(),
            model.config.skip,
        )
        np.testing.assert_allclose(prediction[index, 0], wanted, rtol=0, atol=1e-9)
        for found, layer in zip(features.temporal, layers.temporal, strict=True):
            np.testing.assert_allclose(found[index], layer, rtol=0, atol=1e-9)
        for found, layer in zip(features.spatial, layers.spatial, strict=True):
            np.testing.assert_allclose(found[index], layer, rtol=0, atol=1e-9)


def test_in_single_precision_it_equals_the_masked_one_to_1e_5():
    config = STGCNConfig(20, PRUNING_BASE_CHANNELS)
    model = random_network(config)
    source = np.random.default_rng(3)
    kept = tuple(
        tuple(sorted(source.choice(width, size=(width + 1) // 2, replace=False).tolist()))
        for width in config.full_widths
    )
    window = readings(1, 1, 12, 20)
    for parameter in model.parameters():
        parameter.data.mul_(0.4)
    with torch.no_grad():
        prediction, features = shrink(model.float(), kept)(window.float())
    wanted, layers = oracle.predict(
        weights_of(model.double()), model.graph_kernel.numpy(), kept, window[0].numpy()
    )
    np.testing.assert_allclose(prediction[0, 0], wanted, rtol=0, atol=1e-5)
    for found, layer in zip(features.temporal, layers.temporal, strict=True):
        np.testing.assert_allclose(found[0], layer, rtol=1e-5, atol=1e-5)
    for found, layer in zip(features.spatial, layers.spatial, strict=True):
        np.testing.assert_allclose(found[0], layer, rtol=1e-5, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), pieces=st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_a_shrunk_network_goes_on_from_tails(data, pieces):
    shape, kept = data.draw(shapes_and_masks())
    model = shrink(random_network(STGCNConfig(**shape)), kept)
    steps = model.config.history_steps
    history = histories(model.config, 2, steps + sum(pieces))
    with torch.no_grad():
        whole, _ = model(history)
        newest, _, inputs = model.stream(history[:, :, :steps], None)
        predictions = [newest]
        for columns in history[:, :, steps:].split(pieces, dim=2):
            newest, _, inputs = model.stream(columns, model.last_tails(inputs))
            predictions.append(newest)
    torch.testing.assert_close(torch.cat(predictions, dim=1), whole, rtol=0, atol=1e-10)


def test_shrinking_by_nothing_changes_no_bit():
    model = random_network(STGCNConfig(4, TWO_BLOCKS))
    same = shrink(model, model.config.kept_channels)
    assert_same_bits(same, model)
    assert same.config.kept is None
    history = readings(2, 1, 12, 4)
    assert torch.equal(same(history)[0], model(history)[0])
    addresses = {parameter.data_ptr() for parameter in model.parameters()}
    assert addresses.isdisjoint(parameter.data_ptr() for parameter in same.parameters())


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_shrinking_twice_is_shrinking_once_by_the_intersection(data):
    shape, first = data.draw(shapes_and_masks())
    model = random_network(STGCNConfig(**shape))
    once = shrink(model, first)
    second = data.draw(masks(first))
    assert_same_bits(shrink(once, second), shrink(model, second))


def test_shrinking_draws_no_random_number_and_leaves_the_network_alone():
    model = random_network(STGCNConfig(**WIDER)).requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    smaller = shrink(model, model.config.with_widths([1] * 8).kept_channels)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.requires_grad for parameter in smaller.parameters())


def test_channels_that_are_gone_stay_gone():
    model = random_network(STGCNConfig(**WIDER))
    kept = ((0, 2), *model.config.kept_channels[1:])
    again = ((0, 1), *kept[1:])
    with pytest.raises(ConfigError, match=r"channel 1 of blocks\.0\.first was pruned before"):
        shrink(shrink(model, kept), again)


def test_the_gradient_of_a_joined_weight_is_that_of_any_other():
    model = shrink(
        random_network(STGCNConfig(**WIDER)),
        ((1, 3), (0, 3), (0, 2), (1,), (0,), (1, 2), (0, 2), (1, 3)),
    )
    names, weights = zip(*model.named_parameters(), strict=True)
    history = readings(1, 1, 11, 3)

    def outputs(*values: Tensor) -> tuple[Tensor, ...]:
        own = dict(zip(names, values, strict=True))
        prediction, features = torch.func.functional_call(model, own, (history,))
        return prediction, *features.temporal, *features.spatial

    assert torch.autograd.gradcheck(outputs, weights)


# The optimiser


def trained(name: str, model: STGCN, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for seed in range(steps):
        history = histories(model.config, 4, seed=seed)
        optimizer.zero_grad(set_to_none=True)
        prediction, _ = model(history)
        (prediction - 1).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimiser_goes_on_as_if_nothing_had_left(name):
    model = random_network(STGCNConfig(**WIDER))
    optimizer = OPTIMIZERS[name](model.parameters(), lr=1e-2)
    trained(name, model, optimizer, 3)
    same = shrink(model, model.config.kept_channels)
    twin = OPTIMIZERS[name](model.parameters(), lr=1e-2)
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    shrink_optimizer(optimizer, model, same)
    trained(name, same, optimizer, 3)
    trained(name, model, twin, 3)
    assert_same_bits(same, model)


@each_mixture
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimisers_state_is_sliced_as_the_weights_are(name, mixture):
    """Weights are made the state itself, so that slicing both must give the same."""
    model = random_network(STGCNConfig(**WIDER, **mixture))
    optimizer = OPTIMIZERS[name](model.parameters(), lr=1e-2, weight_decay=0.1)
    optimizer.param_groups[0]["lr"] = 5e-3
    trained(name, model, optimizer, 2)
    for weight, slots in optimizer.state.items():
        for slot in set(slots) - {"step"}:
            slots[slot].copy_(weight.detach())
    kept = ((1, 3), (0, 3), (0, 2), (1,), (0,), (1, 2), (0, 2), (1, 3))
    smaller = shrink(model, kept)
    shrink_optimizer(optimizer, model, smaller)
    (group,) = optimizer.param_groups
    assert [id(one) for one in group["params"]] == [id(one) for one in smaller.parameters()]
    assert (group["lr"], group["weight_decay"]) == (5e-3, 0.1)
    assert set(optimizer.state) == set(smaller.parameters())
    for weight, slots in optimizer.state.items():
        assert slots["step"] == 2
        assert len(slots) == {"rmsprop": 2, "adam": 3}[name]
        for slot in set(slots) - {"step"}:
            assert torch.equal(slots[slot], weight)


@each_mixture
def test_of_a_sensor_and_of_a_step_ahead_nothing_is_pruned(mixture):
    model = random_network(STGCNConfig(**WIDER, **mixture))
    smaller = shrink(model, model.config.with_widths([1] * 8).kept_channels)
    for name in ("output.bias", "sensors"):
        if name in dict(model.named_parameters()):
            assert torch.equal(smaller.get_parameter(name), model.get_parameter(name))
    assert smaller.output.weight.shape == (*model.output.weight.shape[:-1], 1)
    assert count_parameters(smaller) == smaller.config.parameters


def test_an_optimiser_that_took_no_step_has_nothing_to_slice():
    model = random_network(STGCNConfig(**WIDER))
    optimizer = torch.optim.Adam(model.parameters())
    smaller = shrink(model, model.config.with_widths([1] * 8).kept_channels)
    shrink_optimizer(optimizer, model, smaller)
    assert not optimizer.state
    trained("adam", smaller, optimizer, 1)


# The config


@settings(max_examples=50, deadline=None)
@given(drawn=shapes_and_masks())
def test_the_formula_counts_every_weight(drawn):
    shape, kept = drawn
    config = STGCNConfig(**shape, kept=kept)
    kernel = torch.eye(config.num_sensors).repeat(config.chebyshev_order, 1, 1)
    assert count_parameters(STGCN(config, kernel)) == config.parameters


@settings(max_examples=50, deadline=None)
@given(drawn=shapes_and_masks())
def test_a_pruned_config_goes_to_json_and_back(drawn):
    shape, kept = drawn
    config = STGCNConfig(**shape, kept=kept)
    assert STGCNConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert config.kept_channels == kept


def test_a_config_without_pruning_is_written_as_it_always_was():
    """Fingerprints of teachers' targets and manifests are made of these."""
    config = STGCNConfig(6, TWO_BLOCKS)
    assert config.to_json() == {
        "num_sensors": 6,
        "channels": TWO_BLOCKS,
        "history_steps": 12,
        "temporal_kernel_size": 3,
        "chebyshev_order": 3,
    }
    assert str(config) == (
        "STGCNConfig(num_sensors=6, channels=((1, 2, 4), (4, 2, 3)), history_steps=12, "
        "temporal_kernel_size=3, chebyshev_order=3)"
    )
    whole = tuple(tuple(range(width)) for width in (2, 2, 4, 2, 2, 3, 3, 3))
    assert STGCNConfig(6, TWO_BLOCKS, kept=whole) == config
    assert str(config.with_widths([1] * 8)).endswith(f", kept={((0,),) * 8})")


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ((), r"at least one channel per layer.*below 4 for layer 2, got \(\)"),
        ((1, 0), r"increasing order and below 4 for layer 2, got \(1, 0\)"),
        ((1, 1), r"increasing order.*got \(1, 1\)"),
        ((3, 4), r"below 4 for layer 2, got \(3, 4\)"),
        ((-1, 0), r"got \(-1, 0\)"),
    ],
)
def test_masks_that_no_network_can_have_are_refused(layer, text):
    kept = STGCNConfig(6, TWO_BLOCKS).kept_channels
    with pytest.raises(ConfigError, match=text):
        STGCNConfig(6, TWO_BLOCKS, kept=(*kept[:2], layer, *kept[3:]))


def test_masks_of_other_layers_are_refused():
    with pytest.raises(ConfigError, match="must name the channels of 8 layers, got 1"):
        STGCNConfig(6, TWO_BLOCKS, kept=((0,),))


# Files


def test_a_shrunk_network_is_saved_and_read(tmp_path):
    model = STGCN(STGCNConfig(4, ((1, 4, 3), (3, 2, 4))), edgeless(4))
    kept = ((1, 3), (0, 3), (0, 2), (1,), (0,), (1, 2), (0, 2), (1, 3))
    smaller = shrink(model, kept)
    save_model(tmp_path / "model.safetensors", smaller, {"note": 1})
    found, metadata = load_model(tmp_path / "model.safetensors", edgeless(4))
    assert metadata == {"note": 1}
    assert_same_bits(found, smaller)
    assert found.config.kept == kept
    history = torch.randn(2, 1, 12, 4)
    assert torch.equal(found(history)[0], smaller(history)[0])


def test_weights_of_another_width_are_no_model(tmp_path):
    config = STGCNConfig(4, ((1, 4, 3), (3, 2, 4)))
    smaller = shrink(STGCN(config, edgeless(4)), config.with_widths([1] * 8).kept_channels)
    smaller.config = replace(config)
    save_model(tmp_path / "model.safetensors", smaller, {})
    with pytest.raises(CheckpointError, match="must hold a network that fits its own config"):
        load_model(tmp_path / "model.safetensors", edgeless(4))
