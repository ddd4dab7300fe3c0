"""Pruned ASTGCNs against the masked network, and Algorithm 1 from a small base."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.evaluation.profiling import count_parameters
from core.families.astgcn import ASTGCN, ASTGCNConfig
from core.pruning.importance import filter_scores
from core.pruning.shrinking import shrink, shrink_optimizer
from tests.core.small_networks import histories, random_astgcn, small_astgcn_shapes
from tests.oracles import astgcn_oracle as oracle
from tests.oracles.pruning_oracle import kdis

WIDE = ASTGCNConfig(3, ((1, 4, 3), (3, 2, 4)), history_steps=4, horizon_steps=2)
KEPT = ((1, 3), (0, 2), (1,), (0, 1, 3))


@st.composite
def shapes_and_masks(draw: st.DrawFn) -> tuple[dict, tuple]:
    shape = draw(small_astgcn_shapes())
    # No config is made here: its types are checked by random samples, which Hypothesis refuses.
    pairs = [pair for _, hidden, out in shape["channels"] for pair in ((hidden, 1), (out, 2))]
    kept = [sorted(draw(st.sets(st.integers(0, one - 1), min_size=few))) for one, few in pairs]
    return shape, tuple(map(tuple, kept))


@settings(max_examples=20, deadline=None)
@given(drawn=shapes_and_masks(), seed=st.integers(0, 1000))
def test_the_shrunk_network_equals_the_masked_one(drawn, seed):
    shape, kept = drawn
    model = random_astgcn(ASTGCNConfig(**shape), seed)
    smaller = shrink(model, kept)
    history = histories(model.config, windows=1, seed=seed)
    with torch.no_grad():
        prediction, features = smaller(history)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    wanted, layers = oracle.predict(
        weights, model.graph_kernel.numpy(), kept, history[0].numpy(), model.config.skip
    )
    np.testing.assert_allclose(prediction[0, 0], wanted, rtol=0, atol=1e-9)
    for kind in ("temporal", "spatial"):
        for found, layer in zip(getattr(features, kind), getattr(layers, kind), strict=True):
            np.testing.assert_allclose(found[0], layer, rtol=0, atol=1e-9)
    assert count_parameters(smaller) == smaller.config.parameters


def trained_a_step(model: ASTGCN, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(histories(model.config, windows=2))[0].square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.RMSprop, torch.optim.Adam])
def test_the_optimisers_state_is_sliced_as_the_weights_are(kind):
    model = random_astgcn(WIDE)
    optimizer = kind(model.parameters(), lr=1e-3)
    trained_a_step(model, optimizer)
    before = {name: optimizer.state[weight] for name, weight in model.named_parameters()}
    before = {name: copy.copy(slots) for name, slots in before.items()}
    smaller = shrink(model, KEPT)
    shrink_optimizer(optimizer, model, smaller)
    # A network whose weights are the running squares is sliced as any other.
    slot = "square_avg" if kind is torch.optim.RMSprop else "exp_avg_sq"
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(before[name][slot])
    wanted = dict(shrink(model, KEPT).named_parameters())
    for name, weight in smaller.named_parameters():
        assert torch.equal(optimizer.state[weight][slot], wanted[name]), name
    trained_a_step(smaller, optimizer)


def test_scores_are_those_of_the_equations():
    model = random_astgcn(WIDE)
    model(histories(WIDE, windows=2))[0].square().mean().backward()
    weights = {name: one.detach().numpy() for name, one in model.named_parameters()}
    gradients = {name: one.grad.numpy() for name, one in model.named_parameters()}
    for layer, scores in zip(WIDE.layers, filter_scores(model), strict=True):
        wanted = kdis(weights, gradients, layer.name, len(layer.outgoing))
        np.testing.assert_allclose(scores, wanted, rtol=1e-9)
