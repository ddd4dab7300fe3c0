"""Families in a sweep: what a trial trains, exports and prunes, and what is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import ConfigError, UnknownNameError
from core.evaluation.profiling import count_flops, count_parameters
from core.experiments import (
    TargetStorage,
    distill_student,
    network_shape,
    new_network,
    prune_student,
    train_teacher,
)
from core.families import FAMILIES
from core.forms import DEFAULT_FORM, FORMS
from core.preprocessing.prepare import PreparedData
from core.pruning.config import PruningConfig
from core.training.config import TrainingConfig
from core.training.teachers import (
    Teacher,
    TeacherConfig,
    best_teacher,
    default_teacher,
    find_teacher,
)
from hpo.cli.sweeps.teacher import read_channels, teacher_config
from hpo.planning.networks import make_named_ensemble, pruning_base
from hpo.planning.places import Places
from hpo.planning.sweep_planning import plan_sweep
from hpo.space.parameters import STUDENT_WIDTHS
from hpo.space.search_space import built_in_search_space
from hpo.sweep_config import SweepConfig
from hpo.trials.student_training import target_storage
from hpo.trials.trial_settings import StudentSizes, student_config

WIDTHS = ((1, 2, 3), (3, 2, 2))
QUICK = TrainingConfig(epochs=1, learning_rate=2e-3, optimizer="adam", error="mae")


def sweep(**changes: Any) -> SweepConfig:
    return SweepConfig(**{"name": "night", "method": "none", "dataset": "small", **changes})


def trained(data: PreparedData, storage: Path, family: str) -> Teacher:
    config = TeacherConfig(WIDTHS, QUICK, FORMS[DEFAULT_FORM].network, family)
    return train_teacher(data, config, storage, lambda _: None)


@pytest.fixture(scope="module")
def storage(prepared: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    for family in FAMILIES:
        trained(prepared, place, family)
    return place


def teacher_of(data: PreparedData, storage: Path, family: str) -> Teacher:
    return trained(data, storage, family)  # which finds it


def test_teachers_of_both_families_are_trained_once_and_found(prepared, storage):
    found = {family: teacher_of(prepared, storage, family) for family in FAMILIES}
    assert len({one.fingerprint for one in found.values()}) == 2
    for family, teacher in found.items():
        assert (teacher.families, teacher.form) == ({family}, DEFAULT_FORM)
        named = find_teacher(storage, prepared, teacher.fingerprint)
        assert named.config == teacher.config
        assert np.isfinite(teacher.metrics["val_mae"])
        assert teacher.load(prepared).config.family == family


def test_a_teacher_that_nobody_names_is_an_stgcn(prepared, storage):
    for form in (None, DEFAULT_FORM):
        assert best_teacher(storage, prepared.fingerprint, form).families == {"stgcn"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["rd_l2", "skd", "stcd"])
def test_each_family_teaches_students_of_both(family, method, prepared, storage, tmp_path):
    teacher = teacher_of(prepared, storage, family)
    weights = {"rd_l2": {"beta": 0.5}, "skd": {"alpha": 0.1}}
    weights["stcd"] = {"alpha1": 0.2, "alpha2": 0.5, "alpha3": 0.3}
    for student in FAMILIES:
        config = replace(
            student_config(sweep(family=student, epochs=1), {"batch_size": 50}, 0),
            method=method,
            weights=weights[method],
            channels=WIDTHS,
        )
        place = TargetStorage(tmp_path)
        found = distill_student(prepared, teacher, config, None, lambda _: None, place)
        assert found.model.config.family == student
        assert np.isfinite(found.metrics["val_mae"])


def test_a_student_of_a_family_has_its_widths_and_no_segments():
    config = student_config(sweep(family="astgcn"), {"block1_out": 5}, 0)
    assert (config.family, config.channels) == ("astgcn", ((1, 8, 5), (5, 8, 8)))
    assert config.training.windows_per_segment == 1
    assert student_config(sweep(), {}, 0).training.windows_per_segment == 5


def test_sizes_are_those_of_the_network(prepared):
    config = sweep(family="astgcn")
    shape = StudentSizes(config, prepared, base=None).shape({"block1_out": 5})
    network = new_network(shape, prepared.graph_kernel, seed=0)
    sizes = StudentSizes(config, prepared, base=None).of({"block1_out": 5})
    assert sizes == {"parameters": count_parameters(network), "flops": count_flops(network)}


def test_a_base_of_either_family_is_pruned_while_the_other_teaches(prepared, storage, tmp_path):
    base, teacher = (teacher_of(prepared, storage, one) for one in ("astgcn", "stgcn"))
    pruning = PruningConfig(
        "stcd",
        {"alpha1": 0.2, "alpha2": 0.5, "alpha3": 0.3},
        QUICK,
        pruning_interval=2,
        fine_tuning_epochs=1,
        target_parameters=base.config.parameters - 40,
    )
    place = TargetStorage(tmp_path)
    found = prune_student(prepared, base, teacher, pruning, None, lambda _: None, place)
    shape = found.model.config
    assert shape.family == "astgcn"
    assert count_parameters(found.model) == shape.parameters <= base.config.parameters - 40
    assert found.trajectory[-1].parameters == shape.parameters


def test_a_sweep_of_a_family_is_planned(small_data):
    plan = plan_sweep(sweep(family="astgcn"), Places(small_data, small_data.parent / "runs"))[0]
    assert plan.config.family == "astgcn"
    assert "sensor_rank" not in plan.space.parameters
    assert SweepConfig.from_json(plan.config.to_json()) == plan.config
    older = {k: v for k, v in plan.config.to_json().items() if k != "family"}
    assert SweepConfig.from_json(older).family == "stgcn"
    assert target_storage(plan.config).memory_budget > 0


@pytest.mark.parametrize("method", ["stcd", "prune"])
def test_windows_that_share_nothing_are_trained_one_by_one(method, small_data):
    places = Places(small_data, small_data.parent / "runs")
    changes = {"method": method, "base": "table1"} if method == "prune" else {"method": method}
    lengths = {}
    for family in FAMILIES:
        space = plan_sweep(sweep(family=family, **changes), places)[0].space
        lengths[family] = {point["windows_per_segment"] for point in space.points()}
        assert space.values_of("windows_per_segment") == tuple(lengths[family])
    assert lengths == {"stgcn": {5}, "astgcn": {1}}


@pytest.mark.parametrize("family", FAMILIES)
def test_widths_with_which_a_network_sees_nothing_are_not_searched(family, small_data):
    places = Places(small_data, small_data.parent / "runs")
    space = built_in_search_space("widths").with_fixed({"blocks": 2})
    found = plan_sweep(sweep(family=family, method="stcd"), places, space)[0].space
    least = [found.smallest(name) for name in STUDENT_WIDTHS]
    assert least == 2 * [*FAMILIES[family].fewest]


def test_a_base_of_each_family_is_known_as_one(prepared, tmp_path):
    for family in FAMILIES:
        config = replace(pruning_base(DEFAULT_FORM, family), training=QUICK)
        assert train_teacher(prepared, config, tmp_path, lambda _: None).is_pruning_base
    assert best_teacher(tmp_path, prepared.fingerprint) is None


def test_what_a_family_has_not_is_refused_in_one_line(small_data):
    with pytest.raises(ConfigError, match="leave --form out, or choose --family stgcn"):
        sweep(family="astgcn", form="paper")
    with pytest.raises(UnknownNameError, match="unknown family 'astgnc'; did you mean 'astgcn'"):
        sweep(family="astgnc")
    config = sweep(family="astgcn", method="prune", base="teacher", max_parameters=100)
    with pytest.raises(ConfigError, match="the teacher, which is of family stgcn, but the sweep"):
        plan_sweep(config, Places(small_data, small_data.parent / "runs"))


def test_layers_that_teachers_do_not_share_are_refused_before_a_sweep_begins(
    prepared, storage, small_data
):
    named = ",".join(teacher_of(prepared, storage, one).fingerprint for one in FAMILIES)
    places = Places(small_data, storage)
    assert plan_sweep(sweep(method="rd_l2", teachers=named), places)[0].teacher_fingerprint is None
    with pytest.raises(ConfigError, match="have no hidden layers in common"):
        plan_sweep(sweep(method="stcd", teachers=named), places)
    joined = make_named_ensemble(named, "mean", storage, prepared).fingerprint
    for teachers in ({"teachers": named}, {"teacher": joined}):
        with pytest.raises(ConfigError, match="have no hidden layers in common"):
            plan_sweep(sweep(method="skd", **teachers), places)


def test_default_teachers_and_bases_have_their_familys_widths():
    for family, entry in FAMILIES.items():
        teacher = default_teacher(DEFAULT_FORM, family)
        assert teacher.channels == (entry.teacher or FORMS[DEFAULT_FORM].teacher)
        assert pruning_base(DEFAULT_FORM, family).channels == entry.pruning_base
    with pytest.raises(ConfigError, match="those of form paper predict one"):
        default_teacher("paper", "astgcn")


def test_widths_of_a_teacher_are_named():
    assert read_channels("16,32/16, 64") == ((1, 16, 32), (32, 16, 64))
    config = teacher_config(DEFAULT_FORM, {"epochs": 2}, False, "astgcn", read_channels("3,4"))
    assert (config.family, config.channels, config.training.epochs) == ("astgcn", ((1, 3, 4),), 2)
    for wrong in ("", "16", "1,2,3", "0,4", "a,b", "1,2/"):
        with pytest.raises(ConfigError, match="--channels takes two widths of each block"):
            read_channels(wrong)


def test_a_fingerprint_of_an_stgcn_does_not_know_families(prepared):
    form = FORMS[DEFAULT_FORM].network
    plain = TeacherConfig(WIDTHS, QUICK, form)
    assert "family" not in plain.to_json()
    other = TeacherConfig(WIDTHS, QUICK, form, "astgcn")
    assert other.fingerprint_for(prepared) != plain.fingerprint_for(prepared)
    shape = network_shape(prepared, WIDTHS, form, "astgcn")
    seeds = [new_network(shape, prepared.graph_kernel, seed) for seed in (0, 0)]
    assert torch.equal(seeds[0].head, seeds[1].head)
