from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.pruning.algorithm import best_filters
from core.pruning.importance import RunningScores, filter_scores
from core.pruning.shrinking import shrink
from core.stgcn import STGCN, STGCNConfig
from tests.core.small_networks import TWO_BLOCKS, histories, random_network, readings, small_shapes
from tests.oracles import pruning_oracle as oracle

LAYERS = [
    *(f"blocks.{block}.{layer}" for block in (0, 1) for layer in ("first", "spatial", "second")),
    "output.first",
    "output.second",
]


def differentiated(model: STGCN, seed: int = 0) -> STGCN:
    history = histories(model.config, 3, seed=seed)
    prediction, features = model(history)
    loss = prediction.square().mean() + sum(layer.square().mean() for layer in features.temporal)
    loss.backward()
    return model


def by_oracle(model: STGCN) -> list[list[float]]:
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
    gradients = {name: value.grad.numpy() for name, value in model.named_parameters()}
    widths = zip(model.config.layers, model.config.kept_channels, strict=True)
    return [oracle.kdis(weights, gradients, layer.name, len(kept)) for layer, kept in widths]


def assert_as_oracle(model: STGCN) -> None:
    for found, wanted in zip(filter_scores(model), by_oracle(model), strict=True):
        torch.testing.assert_close(
            found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=0.0
        )


@settings(max_examples=25, deadline=None)
@given(shape=small_shapes(), seed=st.integers(0, 1000))
def test_scores_are_those_of_the_equations(shape, seed):
    assert_as_oracle(differentiated(random_network(STGCNConfig(**shape), seed)))


def test_scores_of_a_pruned_network_are_those_of_the_equations():
    model = random_network(STGCNConfig(3, ((1, 4, 3), (3, 2, 4))))
    kept = ((1, 3), (0, 3), (0, 2), (1,), (0,), (1, 2), (0, 2), (1, 3))
    assert_as_oracle(differentiated(shrink(model, kept)))


def test_the_layers_scored_are_all_but_the_last_linear_map():
    assert [layer.name for layer in STGCNConfig(3, TWO_BLOCKS).layers] == LAYERS


@pytest.mark.parametrize("layer", LAYERS)
def test_a_filter_without_weight_scores_nothing(layer):
    """Also says which rows of a gated convolution are one filter."""
    model = random_network(STGCNConfig(3, ((1, 3, 3), (3, 3, 3))))
    own = model.get_submodule(layer)
    with torch.no_grad():
        own.weight[1::3] = 0
        own.bias[1::3] = 0
    differentiated(model)
    scores = filter_scores(model)[LAYERS.index(layer)]
    assert scores[1] == 0
    assert scores[0] > 0
    assert scores[2] > 0


def test_weights_the_loss_did_not_reach_score_nothing():
    model = random_network(STGCNConfig(3, TWO_BLOCKS))
    _, features = model(readings(1, 1, 12, 3))
    features.spatial[0].square().mean().backward()
    scores = filter_scores(model)
    assert all(layer.any() for layer in scores[:2])
    assert not any(layer.any() for layer in scores[2:])


def test_scoring_needs_no_second_pass_and_leaves_gradients_alone():
    model = differentiated(random_network(STGCNConfig(3, TWO_BLOCKS)))
    before = [parameter.grad.clone() for parameter in model.parameters()]
    assert not any(layer.requires_grad for layer in filter_scores(model))
    assert all(
        torch.equal(parameter.grad, gradient)
        for parameter, gradient in zip(model.parameters(), before, strict=True)
    )


def test_running_scores_are_means_over_steps():
    running = RunningScores()
    steps = [[torch.tensor([1.0, 4.0]), torch.tensor([2.0])] for _ in range(3)]
    steps[1] = [torch.tensor([4.0, 1.0]), torch.tensor([8.0])]
    for scores in steps:
        running.add(scores)
    first, second = running.means()
    assert first.tolist() == [2.0, 3.0]
    assert second.tolist() == [4.0]
    assert steps[0][0].tolist() == [1.0, 4.0]


def test_filters_with_the_highest_scores_stay_under_their_original_names():
    kept = ((0, 2, 5, 7), (1,), (3, 4))
    scores = [torch.tensor([0.1, 9.0, 0.2, 3.0]), torch.tensor([0.0]), torch.tensor([1.0, 1.0])]
    assert best_filters(kept, scores, (2, 1, 1)) == ((2, 7), (1,), (3,))
    assert best_filters(kept, scores, (4, 1, 2)) == kept
    assert best_filters(kept, scores, (9, 3, 3)) == kept
