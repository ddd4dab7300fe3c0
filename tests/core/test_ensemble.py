"""An ensemble against its members one by one: forecasts, streams, hidden layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.distillation.correlation.terms import node_distances, step_distances
from core.ensemble import Ensemble
from core.errors import ConfigError
from core.evaluation.forecasting import roll_out
from core.evaluation.profiling import count_flops, count_parameters
from core.stgcn import STGCN, STGCNConfig
from tests.core.small_networks import TWO_BLOCKS, each_mixture, histories, random_network, readings
from tests.oracles.forecasting_oracle import plain_roll_out

SENSORS, HISTORY = 5, 11
NARROW = ((1, 3, 2), (2, 1, 4))


def networks(seeds=(0, 1, 2), channels=(TWO_BLOCKS, NARROW, TWO_BLOCKS), **form) -> list[STGCN]:
    configs = [STGCNConfig(SENSORS, widths, HISTORY, **form) for widths in channels]
    made = [random_network(config, seed) for config, seed in zip(configs, seeds, strict=True)]
    for other in made[1:]:  # of one graph
        other.graph_kernel.copy_(made[0].graph_kernel)
        other.neighbourhoods.copy_(made[0].neighbourhoods)
    return made


@each_mixture
def test_it_predicts_the_mean(mixture):
    members = networks(**mixture)
    history = histories(members[0].config, windows=2, steps=HISTORY + 3)
    predicted, _ = Ensemble(members).double()(history)
    wanted = np.mean([one(history)[0].detach().numpy() for one in members], axis=0)
    np.testing.assert_allclose(predicted.detach().numpy(), wanted, rtol=1e-6)


@each_mixture
def test_shares_weigh_members_at_each_step(mixture):
    members = networks(**mixture)
    steps = members[0].config.steps_per_pass
    shares = torch.rand(3, steps, generator=torch.Generator().manual_seed(1))
    shares = shares / shares.sum(dim=0)
    history = histories(members[0].config, windows=2)
    predicted, _ = Ensemble(members, shares).double()(history)
    of_step = shares.double().numpy()[:, None, None, :, None]  # K B T H N
    each = [one(history)[0].detach().numpy() for one in members]
    stacked = np.stack(each if steps > 1 else [one[:, :, None] for one in each])
    wanted = (stacked * of_step).sum(axis=0).reshape(predicted.shape)
    np.testing.assert_allclose(predicted.detach().numpy(), wanted, rtol=1e-6)


@each_mixture
def test_it_streams_what_it_forwards(mixture):
    ensemble = Ensemble(networks(**mixture)).double()
    history = histories(ensemble.config, windows=2, steps=HISTORY + 6)
    whole, features = ensemble(history)
    first, _, inputs = ensemble.stream(history[:, :, : HISTORY + 1], None)
    rest, newest, _ = ensemble.stream(history[:, :, HISTORY + 1 :], ensemble.last_tails(inputs))
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole)
    for new, all_steps in zip(newest.spatial, features.spatial, strict=True):
        torch.testing.assert_close(new, all_steps[:, :, -new.shape[2] :])


def test_one_step_members_go_on_from_the_mean():
    members = networks()
    ensemble = Ensemble(members).double()
    seen = readings(HISTORY + 2, SENSORS)
    windows = seen.unfold(0, HISTORY, 1).transpose(1, 2)
    found = roll_out(ensemble, seen, 4)
    for _ in range(4):
        newest = torch.stack([one(windows[:, None])[0][:, 0] for one in members]).mean(dim=0)
        windows = torch.cat([windows[:, 1:], newest[:, None]], dim=1)
    torch.testing.assert_close(found, windows[:, -4:])


def test_a_horizon_is_the_mean_of_the_members_forecasts():
    members = networks(head="horizon", skip=True, norm="low_rank", horizon_steps=3)
    seen = readings(HISTORY + 2, SENSORS)
    windows = seen.unfold(0, HISTORY, 1).transpose(1, 2)
    each = torch.stack([plain_roll_out(one, windows, 3) for one in members])
    torch.testing.assert_close(roll_out(Ensemble(members).double(), seen, 3), each.mean(dim=0))


def test_distances_of_its_layers_are_the_means_of_the_members():
    members = networks()
    history = histories(members[0].config, windows=2, steps=HISTORY + 2)
    _, found = Ensemble(members).double()(history)
    each = [one(history)[1] for one in members]
    for at, layer in enumerate(found.spatial):
        wanted = torch.stack([node_distances(one.spatial[at]) for one in each]).mean(dim=0)
        torch.testing.assert_close(node_distances(layer), wanted)
    for at, layer in enumerate(found.temporal):
        own = [step_distances(one.temporal[at], 3) for one in each]
        torch.testing.assert_close(step_distances(layer, 3), torch.stack(own).mean(dim=0))


def test_blocks_that_not_all_members_have_are_left_out():
    members = networks(channels=(TWO_BLOCKS, ((1, 3, 2),), TWO_BLOCKS))
    _, features = Ensemble(members).double()(histories(members[0].config, windows=1))
    assert (len(features.temporal), len(features.spatial)) == (2, 1)


def test_a_member_with_a_mask_reads_it_and_the_others_do_not():
    with_mask = networks(seeds=(3,), channels=(TWO_BLOCKS,), missing_mask=True)
    without = networks(seeds=(4,), channels=(NARROW,))
    without[0].graph_kernel.copy_(with_mask[0].graph_kernel)
    ensemble = Ensemble([*without, *with_mask]).double()
    seen, missing = readings(2, HISTORY, SENSORS), torch.rand(2, HISTORY, SENSORS) > 0.5
    found, _ = ensemble(ensemble.signal(seen, missing))
    each = [one(one.signal(seen, missing))[0] for one in (*without, *with_mask)]
    torch.testing.assert_close(found, torch.stack(each).mean(dim=0))


def test_its_size_is_that_of_all_members():
    members = networks()
    ensemble = Ensemble(members).double()
    assert count_parameters(ensemble) == sum(count_parameters(one) for one in members)
    assert count_flops(ensemble.float()) == sum(count_flops(one.float()) for one in members)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"num_sensors": 4}, "agree in their sensors, got 5, 4"),
        ({"history_steps": 12}, "agree in their history steps, got 11, 12"),
        ({"head": "horizon", "horizon_steps": 3}, "steps predicted in one pass, got 1, 3"),
        ({"temporal_kernel_size": 2}, "temporal kernel, got 3, 2"),
    ],
)
def test_networks_that_do_not_fit_together_are_refused(other, said):
    first = {"num_sensors": SENSORS, "channels": TWO_BLOCKS, "history_steps": HISTORY}
    members = [random_network(STGCNConfig(**one)) for one in (first, {**first, **other})]
    with pytest.raises(ConfigError, match=said):
        Ensemble(members)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ([[0.5], [0.5]], r"shares must be \[3, 1\]"),
        ([[0.5], [0.7], [-0.2]], "not be negative"),
        ([[0.5], [0.7], [0.2]], "sum to one"),
    ],
)
def test_wrong_shares_are_refused(shares, said):
    with pytest.raises(ConfigError, match=said):
        Ensemble(networks(), torch.tensor(shares))


def test_one_network_is_no_ensemble():
    with pytest.raises(ConfigError, match="at least 2 networks, got 1"):
        Ensemble(networks()[:1])
