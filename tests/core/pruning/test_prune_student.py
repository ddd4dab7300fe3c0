from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import core.experiments
from core.checkpoint import CheckpointFolder, load_model, save_model
from core.datasets.synthetic import build_synthetic
from core.distillation.losses import LOSSES
from core.errors import ConfigError, UnknownNameError
from core.evaluation.forecasting import evaluate
from core.evaluation.profiling import count_parameters
from core.experiments import TrainedStudent, prune_student, train_teacher
from core.forms import FORMS
from core.preprocessing.prepare import PreparedData, prepare
from core.pruning import PruningConfig
from core.training.teachers import Teacher, TeacherConfig
from core.training.trainer import EpochReport, TrainingConfig
from tests.loss_settings import settings_of

TRAINING = TrainingConfig(
    epochs=2, batch_size=120, learning_rate=5e-3, optimizer="adam", windows_per_segment=4
)
BASE = TeacherConfig(((1, 4, 6), (6, 4, 6)), TRAINING)
TEACHER = TeacherConfig(((1, 5, 8), (8, 5, 8)), replace(TRAINING, epochs=1))


@pytest.fixture(scope="module")
def data(tiny_dataset) -> PreparedData:
    return prepare(tiny_dataset)


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def base(data, storage) -> Teacher:
    return train_teacher(data, BASE, storage, ignore)


@pytest.fixture(scope="module")
def teacher(data, storage) -> Teacher:
    return train_teacher(data, TEACHER, storage, ignore)


def ignore(report: EpochReport) -> None:
    pass


def must_not_be_called(*_: object) -> None:
    raise AssertionError("something was built or trained")


def settings(method: str, **changes: object) -> PruningConfig:
    return replace(
        PruningConfig(method, settings_of(method), TRAINING, 3, 1, pruning_ratio=0.5), **changes
    )


@pytest.fixture(scope="module")
def pruned(data, base, teacher) -> TrainedStudent:
    return prune_student(data, base, teacher, settings("stcd"), None, ignore)


def test_a_direct_base_is_pruned_while_a_paper_teacher_teaches(data, storage, teacher):
    form = FORMS["direct"].network
    base = train_teacher(data, replace(BASE, form=form), storage, ignore)
    training = replace(TRAINING, epochs=1, error="mae")
    student = prune_student(data, base, teacher, settings("stcd", training=training), None, ignore)
    config, whole = student.model.config, base.load(data).config
    assert {name: getattr(config, name) for name in vars(form)} == vars(form)
    assert count_parameters(student.model) == config.parameters
    assert 0.47 < config.parameters / whole.parameters < 0.53
    assert math.isfinite(student.metrics["val_mae"])


@pytest.mark.parametrize("method", LOSSES)
def test_every_method_prunes_a_base(data, base, teacher, method):
    reports: list[EpochReport] = []
    config = settings(method, training=replace(TRAINING, epochs=1))
    student = prune_student(data, base, teacher, config, None, reports.append)
    assert [(report.epoch, report.epochs) for report in reports] == [(1, 2), (2, 2)]
    assert (student.epochs, student.seconds > 0) == (2, True)
    assert student.best_epoch in {1, 2}
    assert all(math.isfinite(value) for value in student.metrics.values())
    share = count_parameters(student.model) / base.load(data).config.parameters
    assert share == pytest.approx(0.5, rel=0.02)
    assert student.model.config.kept is not None
    assert student.model.config.channels == BASE.channels
    distilled = {report.epoch for report in reports if "train_teacher_share" in report.metrics}
    assert distilled == ({1} if method in {"ord", "tcd", "scd", "stcd"} else set())


def test_a_base_teaches_itself(data, base):
    student = prune_student(data, base, base, settings("stcd"), None, ignore)
    assert math.isfinite(student.metrics["val_mae"])


def test_one_filter_per_layer_can_still_be_taught(data, base, teacher):
    config = settings("stcd", pruning_ratio=None, share_per_step=0.9)
    student = prune_student(data, base, teacher, config, None, ignore)
    assert [len(layer) for layer in student.model.config.kept_channels] == [1] * 8
    assert math.isfinite(student.metrics["val_mae"])


def test_methods_choose_different_filters(data, base, teacher, pruned):
    plain = prune_student(data, base, None, settings("none"), None, ignore)
    assert plain.model.config.kept != pruned.model.config.kept
    assert plain.model.config.parameters == pruned.model.config.parameters


def test_it_begins_with_the_bases_weights_and_leaves_its_file_alone(data, base):
    """A tiny learning rate leaves what stays where it was."""
    before = (base.folder / "teacher.safetensors").read_bytes()
    config = settings("none", training=replace(TRAINING, learning_rate=1e-9))
    student = prune_student(data, base, None, config, None, ignore)
    weight = base.load(data).output.weight[list(student.model.config.kept_channels[-1])]
    torch.testing.assert_close(student.model.output.weight.detach(), weight, rtol=0, atol=1e-6)
    assert (base.folder / "teacher.safetensors").read_bytes() == before


def test_a_killed_student_goes_on_with_the_same_numbers(data, base, teacher, pruned, tmp_path):
    def killed(report: EpochReport) -> None:
        raise KeyboardInterrupt

    checkpoints = CheckpointFolder(tmp_path)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            prune_student(data, base, teacher, settings("stcd"), checkpoints, killed)
    resumed = prune_student(data, base, teacher, settings("stcd"), checkpoints, ignore)
    assert resumed.metrics == pruned.metrics
    assert resumed.trajectory == pruned.trajectory
    assert resumed.model.config == pruned.model.config
    for name, value in pruned.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


# A pruned student is an ordinary STGCN


def test_a_pruned_student_is_saved_and_read(data, pruned, tmp_path):
    save_model(tmp_path / "model.safetensors", pruned.model, {})
    model, _ = load_model(tmp_path / "model.safetensors", data.graph_kernel)
    assert model.config == pruned.model.config
    assert evaluate(model, data, "validation") == evaluate(pruned.model, data, "validation")


def test_a_pruned_student_is_pruned_again(data, base, teacher, pruned, tmp_path):
    metadata = {
        "dataset_fingerprint": data.fingerprint,
        "settings": {},
        "metrics": pruned.metrics,
        "seconds": 1.0,
    }
    save_model(tmp_path / "once" / "teacher.safetensors", pruned.model, metadata)
    once = Teacher(tmp_path / "once", (pruned.model.config,), **metadata)
    config = settings("stcd", pruning_ratio=None, target_parameters=300)
    again = prune_student(data, once, teacher, config, None, ignore)
    assert again.model.config.parameters <= 300
    pairs = zip(again.model.config.kept_channels, pruned.model.config.kept_channels, strict=True)
    assert all(set(new) <= set(old) for new, old in pairs)


# Refused before anything is built or trained


@pytest.fixture
def untouched(monkeypatch):
    monkeypatch.setattr(core.experiments, "load_teacher_targets", must_not_be_called)
    monkeypatch.setattr(core.experiments, "prune", must_not_be_called)


def test_a_base_of_another_dataset_is_refused(data, base, teacher, tmp_path, untouched):
    other = prepare(build_synthetic(tmp_path / "other", seed=2, num_sensors=6, split=(3, 1, 1)))
    text = f"the base must have been trained on other, but {base.fingerprint} was trained on other"
    with pytest.raises(ConfigError, match=text):
        prune_student(other, base, teacher, settings("stcd"), None, must_not_be_called)
    stranger = replace(teacher, dataset_fingerprint="0123")
    with pytest.raises(ConfigError, match="the teacher must have been trained on"):
        prune_student(data, base, stranger, settings("stcd"), None, must_not_be_called)


def test_a_method_without_its_teacher_is_refused(data, base, untouched):
    with pytest.raises(ConfigError, match="method stcd needs a teacher; train one first"):
        prune_student(data, base, None, settings("stcd"), None, must_not_be_called)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"pruning_interval": 10_000}, "pruning_interval must not exceed the"),
        ({"pruning_ratio": 0.999}, "the fewest filters per layer"),
        ({"pruning_ratio": None, "target_parameters": 10**6}, "fewer than its base's"),
        ({"weights": {"alpha1": 0.4}}, "method 'stcd' takes alpha1, alpha2, alpha3"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(data, base, teacher, untouched, changes, text):
    with pytest.raises(ConfigError, match=text):
        prune_student(data, base, teacher, settings("stcd", **changes), None, must_not_be_called)


def test_an_unknown_method_is_refused(data, base, teacher, untouched):
    config = replace(settings("none"), method="stdc")
    with pytest.raises(UnknownNameError, match="did you mean 'stcd'"):
        prune_student(data, base, teacher, config, None, must_not_be_called)
