from __future__ import annotations

import functools
import json
import operator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call

from core.evaluation.profiling import count_parameters
from core.forms import FORMS
from core.stgcn import (
    PRUNING_BASE_CHANNELS,
    STGCN,
    STUDENT_CHANNELS,
    TEACHER_CHANNELS,
    Features,
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
from tests.golden import wave_network as golden
from tests.oracles import stgcn_oracle as oracle

EXACT = {"rtol": 0.0, "atol": 1e-10}
"""In float64, where only the order of additions differs."""


def by_oracle(model: STGCN, history: Tensor) -> tuple[Tensor, Features]:
    """The oracle's prediction [B, 1, (H,) N] and features of windows [B, C, T, N]."""
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    blocks, kernel = len(model.config.channels), model.graph_kernel.numpy()
    found = [
        oracle.predict(weights, kernel, blocks, window.numpy(), model.config.skip)
        for window in history
    ]

    def stacked(kind: str) -> list[Tensor]:
        layers = zip(*(getattr(one, kind) for _, one in found), strict=True)
        return [torch.from_numpy(np.stack(layer)) for layer in layers]

    prediction = torch.from_numpy(np.stack([one for one, _ in found]))
    return prediction[:, None], Features(stacked("temporal"), stacked("spatial"))


def assert_same(
    found: tuple[Tensor, Features], wanted: tuple[Tensor, Features], **tolerance: float
) -> None:
    torch.testing.assert_close(found[0], wanted[0], **tolerance)
    torch.testing.assert_close(found[1].temporal, wanted[1].temporal, **tolerance)
    torch.testing.assert_close(found[1].spatial, wanted[1].spatial, **tolerance)


def steps_ahead(config: STGCNConfig) -> list[int]:
    """The axis that a horizon head's predictions have and others lack."""
    return [config.horizon_steps] if config.head == "horizon" else []


# The equations


@pytest.mark.parametrize(
    ("channels", "num_sensors", "parameters"),
    [
        (TEACHER_CHANNELS, 228, 333_604),
        (PRUNING_BASE_CHANNELS, 228, 48_628),
        (STUDENT_CHANNELS, 228, 10_144),
        (TEACHER_CHANNELS, 170, 296_426),
        (PRUNING_BASE_CHANNELS, 170, 39_290),
        (STUDENT_CHANNELS, 170, 7_766),
    ],
)
def test_parameter_counts_are_those_of_table_1(channels, num_sensors, parameters):
    model = STGCN(STGCNConfig(num_sensors, channels), edgeless(num_sensors))
    assert count_parameters(model) == parameters
    assert model.config.parameters == parameters


@pytest.mark.parametrize(
    ("channels", "sensor_rank", "parameters"),
    [
        (((1, 8, 16), (16, 8, 24)), 4, 9_409),
        (((1, 4, 8), (8, 4, 16)), 4, 4_497),
        (((1, 4, 8), (8, 4, 8)), 2, 1_857),
        (TEACHER_CHANNELS, 8, 196_073),
    ],
)
def test_parameter_counts_of_direct_networks(channels, sensor_rank, parameters):
    form = replace(FORMS["direct"].network, sensor_rank=sensor_rank)
    model = STGCN(STGCNConfig(228, channels, **vars(form)), edgeless(228))
    assert count_parameters(model) == model.config.parameters == parameters


@each_mixture
def test_every_mixture_follows_the_equations(mixture):
    model = random_network(STGCNConfig(4, TWO_BLOCKS, **mixture))
    history = histories(model.config, 2)
    with torch.no_grad():
        found = model(history)
        assert_same(found, by_oracle(model, history), **EXACT)
    assert found[0].shape == (2, 1, *steps_ahead(model.config), 4)
    assert count_parameters(model) == model.config.parameters


@pytest.mark.parametrize(
    "channels",
    [TWO_BLOCKS, ((1, 4, 2), (2, 3, 5)), ((1, 1, 1), (1, 1, 1))],
    ids=["growing", "shrinking", "narrowest"],
)
def test_forward_follows_the_equations(channels):
    model = random_network(STGCNConfig(4, channels))
    history = readings(2, 1, 12, 4)
    with torch.no_grad():
        assert_same(model(history), by_oracle(model, history), **EXACT)


@settings(max_examples=30, deadline=None)
@given(shape=small_shapes(), seed=st.integers(0, 1000))
def test_forward_follows_the_equations_at_every_size(shape, seed):
    config = STGCNConfig(**shape)
    model = random_network(config, seed)
    history = histories(config, 2, seed=seed)
    with torch.no_grad():
        prediction, features = model(history)
        assert_same((prediction, features), by_oracle(model, history), **EXACT)
    assert prediction.shape == (2, 1, *steps_ahead(config), config.num_sensors)
    assert len(features.temporal) == 2 * len(features.spatial) == 2 * len(config.channels)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 2e-9), (torch.float32, 1e-5)], ids=str
)
def test_golden_values(dtype, tolerance):
    wanted = json.loads(golden.GOLDEN_FILE.read_text())
    model, history = golden.wave_network().to(dtype), golden.wave_history().to(dtype)
    with torch.no_grad():
        prediction, features = model(history)

    def check(found: Tensor, *path: Any) -> None:
        for window, values in zip(found, wanted, strict=True):
            expected = torch.tensor(functools.reduce(operator.getitem, path, values), dtype=dtype)
            torch.testing.assert_close(window, expected, rtol=0.0, atol=tolerance)

    check(prediction[:, 0], "prediction")
    for index, layer in enumerate(features.temporal):
        check(layer, "temporal", index)
    for index, layer in enumerate(features.spatial):
        check(layer, "spatial", index)


def test_golden_file_is_what_its_script_writes():
    """Whoever changes the oracle or the waves sees that the file is stale."""
    stored = json.loads(golden.GOLDEN_FILE.read_text())
    for window, values in zip(stored, golden.golden_values(), strict=True):
        assert window["prediction"] == pytest.approx(values["prediction"], abs=2e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [((1, 2, 3),), ((1, 3, 2), (2, 1, 2))])
def test_gradients_of_weights_and_input(channels, form):
    history_steps = 2 * len(channels) + 2
    config = STGCNConfig(
        2, channels, history_steps, 2, 2, **vars(FORMS[form].network), horizon_steps=2
    )
    model = random_network(config, seed=5)
    names, weights = zip(*model.named_parameters(), strict=True)
    history = readings(1, 1, config.history_steps + 1, 2).requires_grad_()

    def outputs(history: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        own = dict(zip(names, values, strict=True))
        prediction, features = functional_call(model, own, (history,))
        return prediction, *features.temporal, *features.spatial

    assert torch.autograd.gradcheck(outputs, (history, *weights))


# Equivariance in time


@each_mixture
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str
)
def test_one_pass_over_a_day_equals_its_windows(dtype, tolerance, mixture):
    model = random_network(STGCNConfig(5, TWO_BLOCKS, **mixture)).to(dtype)
    day = histories(model.config, 1, 288).to(dtype)
    windows = day[0].unfold(1, 12, 1).permute(1, 0, 3, 2)
    with torch.no_grad():
        (prediction, features), (each, own) = model(day), model(windows)

    def cut(signal: Tensor) -> Tensor:
        length = signal.shape[2] - len(windows) + 1
        return signal[0].unfold(1, length, 1).permute(1, 0, 3, 2)

    whole = Features(
        [cut(one) for one in features.temporal], [cut(one) for one in features.spatial]
    )
    assert len(windows) == prediction.shape[1] == 277
    assert_same((prediction[0][:, None], whole), (each, own), rtol=0.0, atol=tolerance)


@settings(max_examples=30, deadline=None)
@given(shape=small_shapes(), pieces=st.lists(st.integers(1, 3), max_size=5))
def test_going_on_from_tails_equals_one_pass(shape, pieces):
    config = STGCNConfig(**shape)
    model = random_network(config)
    first, N = config.history_steps, config.num_sensors
    history = histories(config, 2, first + sum(pieces))
    with torch.no_grad():
        whole, features = model(history)
        predictions, parts, inputs = model.stream(history[:, :, :first], None)
        kept = [[*parts.temporal, *parts.spatial]]
        predictions = [predictions]
        for piece, columns in zip(
            pieces, history[:, :, first:].split(pieces, dim=2) if pieces else (), strict=True
        ):
            tails = model.last_tails(inputs)
            newest, parts, inputs = model.stream(columns, tails)
            assert newest.shape == (2, piece, *steps_ahead(config), N)
            predictions.append(newest)
            kept.append([*parts.temporal, *parts.spatial])
    torch.testing.assert_close(torch.cat(predictions, dim=1), whole, **EXACT)
    joined = [torch.cat(layer, dim=2) for layer in zip(*kept, strict=True)]
    torch.testing.assert_close(joined, [*features.temporal, *features.spatial], **EXACT)


@each_mixture
def test_a_whole_day_column_by_column(mixture):
    model = random_network(STGCNConfig(3, TWO_BLOCKS, **mixture))
    day = histories(model.config, 1, 60)
    with torch.no_grad():
        whole, _ = model(day)
        newest, _, inputs = model.stream(day[:, :, :12], None)
        predictions = [newest]
        for column in day[:, :, 12:].split(1, dim=2):
            newest, _, inputs = model.stream(column, model.last_tails(inputs))
            assert [signal.shape[1] for signal in inputs] == model.temporal_kernel_sizes
            predictions.append(newest)
    torch.testing.assert_close(torch.cat(predictions, dim=1), whole, **EXACT)
