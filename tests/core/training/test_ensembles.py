"""Ensembles as teachers on the disk: made once, weighed, read, refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from core.ensemble import Ensemble
from core.errors import CheckpointError, ConfigError, UnknownNameError
from core.evaluation.forecasting import evaluate, forecasts_of, truth_after
from core.experiments import StudentConfig, distill_student, network_shape, new_network
from core.forms import FORMS
from core.preprocessing.prepare import PreparedData, prepare
from core.training.config import TrainingConfig
from core.training.ensembles import (
    Member,
    find_ensemble,
    fitted_shares,
    make_ensemble,
)
from core.training.teacher_files import WEIGHTINGS
from core.training.teachers import best_teacher, find_teacher, open_teacher

WIDTHS = (((1, 2, 3), (3, 2, 3)), ((1, 3, 4), (4, 1, 2)), ((1, 2, 2), (2, 2, 2)))


@pytest.fixture(scope="module")
def data(tiny_dataset) -> PreparedData:
    return prepare(tiny_dataset)


def member(data: PreparedData, at: int, form: str = "direct") -> Member:
    shape = network_shape(data, WIDTHS[at], FORMS[form].network)

    def load(data):
        network = new_network(shape, data.graph_kernel, seed=at)
        with torch.no_grad():  # new heads of this form repeat the last reading, all alike
            network.output.weight.mul_(5.0)
        return network

    return Member(f"m{at}", load, seconds=at + 1.0)


@pytest.fixture(scope="module")
def members(data) -> list[Member]:
    return [member(data, at) for at in range(3)]


def test_it_is_made_once_in_whatever_order_and_found(data, members, tmp_path):
    assert find_ensemble(members, "mean", data, tmp_path) is None
    made = make_ensemble(members, "mean", data, tmp_path)
    written = (made.folder / "teacher.safetensors").stat()
    again = make_ensemble(members[::-1], "mean", data, tmp_path)
    assert again == made == find_ensemble(members, "mean", data, tmp_path)
    assert (made.folder / "teacher.safetensors").stat() == written
    assert made.fingerprint != make_ensemble(members, "fitted", data, tmp_path).fingerprint


def test_it_is_read_as_what_it_was_made_of(data, members, tmp_path):
    made = make_ensemble(members, "mean", data, tmp_path)
    assert made.is_ensemble
    assert made.form == "direct"
    assert made.settings == {"ensemble": ["m0", "m1", "m2"], "weighting": "mean"}
    assert made.seconds == 6.0
    whole = Ensemble([one.load(data) for one in members])
    errors = evaluate(whole, data, "validation")
    assert made.metrics == {f"val_{name}": value for name, value in errors.items()}
    for found, wanted in zip(made.load(data).members, whole.members, strict=True):
        assert found.config == wanted.config
        for one, other in zip(found.parameters(), wanted.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_it_teaches_only_where_it_is_named(data, members, tmp_path):
    made = make_ensemble(members, "mean", data, tmp_path)
    assert best_teacher(tmp_path, data.fingerprint) is None
    assert find_teacher(tmp_path, data, made.fingerprint) == made


@pytest.mark.parametrize("method", ["ord", "stcd", "skd"])
def test_a_student_learns_from_it(data, members, tmp_path, method):
    weights = {"ord": {"alpha1": 0.2}, "skd": {"alpha": 0.5}}
    weights["stcd"] = {"alpha1": 0.2, "alpha2": 0.3, "alpha3": 0.4}
    training = TrainingConfig(epochs=1, batch_size=80, windows_per_segment=4)
    form = FORMS["direct"].network
    config = StudentConfig(method, weights[method], training, ((1, 2, 3), (3, 2, 2)), form=form)
    made = make_ensemble(members, "mean", data, tmp_path)
    student = distill_student(data, made, config, None, lambda report: None)
    assert np.isfinite(student.metrics["val_mae"])


def squared_error(
    shares: np.ndarray, members: list[Member], data: PreparedData, step: int
) -> float:
    """Naively, in float64: mean squared error of the weighted forecasts on the training days."""
    errors = []
    for stretch in data.stretches("train"):
        runs = [list(forecasts_of(one.load(data), data, stretch)) for one in members]
        for at, (start, forecast) in enumerate(runs[0]):
            truth = truth_after(data, start, len(forecast))[:, step].double().numpy()
            each = [run[at][1][:, step].double().numpy() for run in runs]
            errors.append(sum(w * one for w, one in zip(shares, each, strict=True)) - truth)
    return float(np.nanmean(np.concatenate(errors) ** 2))


def test_fitted_shares_have_the_least_squared_error(data, members):
    found = fitted_shares([one.load(data) for one in members], data).double().numpy()
    assert found.shape == (3, data.horizon_steps)
    np.testing.assert_allclose(found.sum(axis=0), 1.0, atol=1e-6)
    for step in (0, data.horizon_steps - 1):
        best = minimize(
            squared_error,
            np.full(3, 1 / 3),
            args=(members, data, step),
            bounds=[(0, 1)] * 3,
            constraints={"type": "eq", "fun": lambda shares: shares.sum() - 1},
        )
        own = squared_error(found[:, step], members, data, step)
        assert own <= best.fun * (1 + 1e-6)
        assert own < squared_error(np.full(3, 1 / 3), members, data, step)


def test_entries_that_were_not_measured_do_not_count(data, members):
    gappy = data.truth.clone()
    gappy[::7, 0] = torch.nan
    networks = [one.load(data) for one in members]
    with_gaps = replace(data, truth=gappy)
    spoiled = replace(data, truth=torch.where(gappy.isnan(), 1e6, gappy))
    found = fitted_shares(networks, with_gaps)
    assert torch.isfinite(found).all()
    assert not torch.allclose(found, fitted_shares(networks, spoiled))


@pytest.mark.parametrize(
    ("named", "weighting", "error", "said"),
    [
        ([0], "mean", ConfigError, "at least 2, got 1"),
        ([0, 1, 0], "mean", ConfigError, "must differ, got m0 twice"),
        ([0, 1], "median", UnknownNameError, "weighting of teachers"),
    ],
)
def test_what_is_no_ensemble_is_refused(data, members, tmp_path, named, weighting, error, said):
    for entrance in (find_ensemble, make_ensemble):
        with pytest.raises(error, match=said):
            entrance([members[at] for at in named], weighting, data, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_networks_of_two_forms_are_refused_before_anything_is_written(data, members, tmp_path):
    with pytest.raises(ConfigError, match="agree in their steps predicted in one pass"):
        make_ensemble([members[0], member(data, 1, "paper")], "mean", data, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_it_is_no_pruning_base(data, members, tmp_path):
    made = make_ensemble(members, "mean", data, tmp_path)
    assert not made.is_pruning_base
    with pytest.raises(ConfigError, match="must be one network"):
        made.load_single(data)


def test_a_damaged_one_is_named(data, members, tmp_path):
    made = make_ensemble(members, "mean", data, tmp_path)
    file = made.folder / "teacher.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=made.fingerprint):
        open_teacher(made.folder)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_shares_are_kept_with_the_weights(data, members, tmp_path, weighting):
    loaded = make_ensemble(members, weighting, data, tmp_path).load(data)
    torch.testing.assert_close(loaded.shares.sum(dim=0), torch.ones(loaded.shares.shape[1]))
    assert loaded.shares.shape[1] == (1 if weighting == "mean" else data.horizon_steps)
