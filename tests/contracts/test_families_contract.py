"""What every family of networks must offer: one suite over ``FAMILIES``."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from core.checkpoint import load_model, load_network, save_model, save_network
from core.ensemble import Ensemble
from core.errors import CheckpointError, ConfigError, UnknownNameError
from core.evaluation.forecasting import roll_out
from core.evaluation.profiling import count_flops, count_parameters
from core.experiments import network_shape, new_network
from core.families import FAMILIES, NetworkConfig, find_family, form_fields, read_config
from core.families.networks import SingleNetwork, build
from core.forms import DEFAULT_FORM, FORMS, form_of
from core.preprocessing.prepare import PreparedData, prepare
from core.stgcn import Features
from tests.core.small_networks import edgeless, readings

each_family = pytest.mark.parametrize("family", FAMILIES)
WIDTHS = ((1, 4, 3), (3, 2, 5))


@pytest.fixture(scope="module")
def data(tiny_dataset) -> PreparedData:
    return prepare(tiny_dataset)


def shape_of(family: str, **changed: Any) -> NetworkConfig:
    fields = form_fields(family, FORMS[DEFAULT_FORM].network)
    return FAMILIES[family].config(5, WIDTHS, 12, **{**fields, "horizon_steps": 3, **changed})


def network_of(family: str, seed: int = 0, **changed: Any) -> SingleNetwork:
    return new_network(shape_of(family, **changed), edgeless(5), seed)


@each_family
def test_a_network_maps_readings_to_a_forecast_and_features(family):
    model, seen = network_of(family), readings(2, 14, 5).float()
    forecast, features = model(model.signal(seen))
    assert forecast.shape == (2, 3, 3, 5)  # B windows H N
    assert isinstance(features, Features)
    assert len(features.temporal) == 2 * len(WIDTHS)
    assert len(features.spatial) == len(WIDTHS)
    assert forecast.isfinite().all()


@each_family
def test_a_configs_layer_steps_are_those_of_one_window(family):
    model = network_of(family)
    _, features = model(model.signal(readings(1, 12, 5).float()))
    steps = []
    for block, spatial in enumerate(features.spatial):
        first, second = features.temporal[2 * block : 2 * block + 2]
        steps += [layer.shape[2] for layer in (first, spatial, second)]
    assert tuple(steps) == model.config.layer_steps


@each_family
def test_whether_hidden_layers_are_shared_by_windows_is_as_said(family):
    model, seen = network_of(family), readings(1, 13, 5).float()
    _, both = model(model.signal(seen))
    _, later = model(model.signal(seen[:, 1:]))
    for whole, own in zip(both.temporal, later.temporal, strict=True):
        if model.config.equivariant:
            torch.testing.assert_close(whole[:, :, 1:], own)
        else:
            assert whole.shape[0] == 2
            torch.testing.assert_close(whole[1:], own)


@each_family
@pytest.mark.parametrize("mask", [False, True])
def test_sizes_are_known_before_a_network_is_made(family, mask):
    model = network_of(family, missing_mask=mask)
    assert model.config.parameters == count_parameters(model)
    assert count_flops(model) > 0
    assert model.config.input_channels == model.signal(torch.zeros(1, 12, 5)).shape[1]


@each_family
def test_narrower_layers_have_fewer_weights_and_operations(family):
    config = shape_of(family)
    for at, width in enumerate(config.full_widths):
        widths = [*config.full_widths]
        widths[at] = width - 1
        smaller = config.with_widths(widths)
        assert smaller.parameters < config.parameters
        assert len(smaller.layers[at].outgoing) == width - 1
        assert count_flops(build(smaller, edgeless(5))) < count_flops(build(config, edgeless(5)))


@each_family
def test_the_narrowest_network_still_sees_what_it_reads(family):
    config, seen = shape_of(family, skip=False), readings(20, 12, 5).float()
    narrowest = config.with_widths(config.fewest_widths)
    models = [new_network(narrowest, edgeless(5), seed) for seed in range(8)]
    spreads = [model(model.signal(seen))[0].std(dim=0).max().item() for model in models]
    assert max(spreads) > 0.1  # of some seeds all ReLUs are closed


@each_family
def test_a_network_goes_on_in_time(family):
    model = network_of(family)
    seen = model.signal(readings(1, 17, 5).float())
    whole, _ = model(seen)
    first, _, inputs = model.stream(seen[:, :, :13], None)
    rest, _, _ = model.stream(seen[:, :, 13:], model.last_tails(inputs))
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole)
    torch.testing.assert_close(roll_out(model, seen[0, 0], 3), whole[0])


@each_family
def test_a_config_goes_to_json_and_back(family):
    config = shape_of(family, missing_mask=True)
    assert read_config(json.loads(json.dumps(config.to_json()))) == config
    assert find_family(family).config.family == family
    assert form_of(config) == DEFAULT_FORM


@each_family
def test_a_network_is_saved_and_read(family, tmp_path):
    model, file = network_of(family), tmp_path / "model.safetensors"
    save_model(file, model, {"note": 1})
    found, metadata = load_model(file, edgeless(5))
    assert type(found) is type(model)
    assert (found.config, metadata) == (model.config, {"note": 1})
    for name, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


def test_files_of_the_first_family_name_none(tmp_path):
    assert "family" not in network_of("stgcn").config.to_json()
    assert network_of("astgcn").config.to_json()["family"] == "astgcn"


def test_a_file_of_an_unknown_family_is_refused(tmp_path):
    model, file = network_of("astgcn"), tmp_path / "model.safetensors"
    object.__setattr__(model.config, "to_json", lambda: {"family": "dcrnn"})
    save_model(file, model, {})
    with pytest.raises(CheckpointError, match="unknown family 'dcrnn'"):
        load_model(file, edgeless(5))


@each_family
def test_one_seed_is_one_network(family):
    first, again, other = (network_of(family, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_networks_of_several_families_forecast_as_one(tmp_path):
    members = [network_of(family) for family in FAMILIES]
    ensemble, seen = Ensemble(members), readings(1, 14, 5).float()
    forecast, features = ensemble(ensemble.signal(seen))
    each = torch.stack([one(one.signal(seen))[0] for one in members])
    torch.testing.assert_close(forecast, each.mean(dim=0))
    assert features == Features([], [])  # they have no hidden layers in common
    first, _, inputs = ensemble.stream(ensemble.signal(seen[:, :13]), None)
    rest, _, _ = ensemble.stream(ensemble.signal(seen[:, 13:]), ensemble.last_tails(inputs))
    torch.testing.assert_close(torch.cat([first, rest], dim=1), forecast)
    save_network(tmp_path / "model.safetensors", ensemble, {})
    found, _ = load_network(tmp_path / "model.safetensors", edgeless(5))
    assert [one.config for one in found.members] == [one.config for one in members]


@each_family
def test_a_form_is_one_of_the_familys_or_refused(family, data):
    for name, form in FORMS.items():
        if family == "stgcn" or name == DEFAULT_FORM:
            shape = network_shape(data, WIDTHS, form.network, family)
            assert (shape.family, form_of(shape)) == (family, name)
        else:
            with pytest.raises(ConfigError, match="those of form paper predict one; leave --form"):
                network_shape(data, WIDTHS, form.network, family)


def test_unknown_families_are_refused():
    with pytest.raises(UnknownNameError, match="unknown family 'astgnc'; did you mean 'astgcn'"):
        find_family("astgnc")
