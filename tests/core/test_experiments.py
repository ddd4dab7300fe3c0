from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from core.checkpoint import CheckpointFolder
from core.datasets.synthetic import build_synthetic
from core.distillation.correlation import backends as correlation_backends
from core.distillation.losses import LOSSES, make_loss
from core.distillation.teacher_targets import load_teacher_targets
from core.errors import ConfigError
from core.evaluation.forecasting import evaluate, repeat_last
from core.experiments import (
    DistillationObjective,
    StudentConfig,
    TrainedStudent,
    distill_student,
    network_shape,
    new_network,
    train_teacher,
)
from core.forms import FORMS
from core.preprocessing.prepare import PreparedData, prepare
from core.stgcn import STGCNConfig
from core.training.teachers import Teacher, TeacherConfig, find_teacher, open_teacher
from core.training.trainer import EpochReport, Trainer, TrainingConfig
from tests.loss_settings import settings_of

TRAINING = TrainingConfig(
    epochs=2, batch_size=120, learning_rate=5e-3, optimizer="adam", windows_per_segment=4
)
TEACHER = TeacherConfig(((1, 4, 6), (6, 4, 6)), TRAINING)
ONE_EPOCH = replace(TRAINING, epochs=1)


@pytest.fixture(scope="module")
def data(tiny_dataset) -> PreparedData:
    return prepare(tiny_dataset)


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def teacher(data, storage) -> Teacher:
    return train_teacher(data, TEACHER, storage, ignore)


def ignore(report: EpochReport) -> None:
    pass


def killed_after_one_epoch(report: EpochReport) -> None:
    raise KeyboardInterrupt


def must_not_be_called(*_: object) -> None:
    raise AssertionError("something was trained")


def distill(
    data: PreparedData, teacher: Teacher | None, method: str, training: TrainingConfig = ONE_EPOCH
) -> TrainedStudent:
    return distill_student(
        data, teacher, StudentConfig(method, settings_of(method), training), None, ignore
    )


def weights_of(teacher: Teacher, data: PreparedData) -> dict[str, Tensor]:
    return teacher.load(data).state_dict()


def assert_same_bits(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


# Teachers


def test_a_teacher_is_trained_and_described(data, teacher, storage):
    assert teacher.folder == storage / "teachers" / TEACHER.fingerprint_for(data)
    assert teacher == open_teacher(teacher.folder)
    assert teacher == find_teacher(storage, data, None)
    assert teacher.dataset_fingerprint == data.fingerprint
    assert teacher.seconds > 0
    assert teacher.settings["training"]["learning_rate"] == 5e-3
    # torch multiplies matrices in another order where weights are frozen.
    for name, value in evaluate(teacher.load(data), data, "validation").items():
        assert teacher.metrics[f"val_{name}"] == pytest.approx(value, rel=1e-6)
    assert not (teacher.folder / "checkpoints").exists()


def test_the_same_teacher_is_not_trained_twice(data, teacher, storage):
    again = train_teacher(data, TEACHER, storage, must_not_be_called, must_not_be_called)
    assert again == teacher


def test_another_seed_is_another_teacher(data, teacher, storage):
    config = replace(TEACHER, training=replace(ONE_EPOCH, seed=1))
    reports: list[EpochReport] = []
    other = train_teacher(data, config, storage, reports.append)
    assert other.fingerprint != teacher.fingerprint
    assert len(reports) == 1
    assert (
        weights_of(other, data)["output.weight"]
        .ne(weights_of(teacher, data)["output.weight"])
        .all()
    )


def test_a_killed_teacher_goes_on_with_the_same_numbers(data, teacher, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_teacher(data, TEACHER, tmp_path, killed_after_one_epoch)
    assert find_teacher(tmp_path, data, None) is None
    reports: list[EpochReport] = []
    resumed = train_teacher(data, TEACHER, tmp_path, reports.append)
    assert [report.epoch for report in reports] == [2]
    assert resumed.fingerprint == teacher.fingerprint
    assert resumed.metrics == teacher.metrics
    assert_same_bits(weights_of(resumed, data), weights_of(teacher, data))


# Students


@pytest.mark.parametrize("method", LOSSES)
def test_every_method_trains_a_student(data, teacher, method):
    student = distill(data, teacher, method)
    assert (student.best_epoch, student.epochs) == (1, 1)
    assert student.seconds > 0
    assert all(math.isfinite(value) for value in student.metrics.values())
    assert {"val_mae", "val_rmse_45", "train_loss"} <= set(student.metrics)
    assert ("train_teacher_share" in student.metrics) == (method in {"ord", "tcd", "scd", "stcd"})
    start = new_network(student.model.config, data.graph_kernel, seed=0).state_dict()
    trained = student.model.state_dict()
    assert all(not torch.equal(trained[name], value) for name, value in start.items())


def test_methods_train_different_students_from_the_same_start(data, teacher):
    found = {
        distill(data, teacher, method).metrics["val_mae"] for method in ("none", "ord", "stcd")
    }
    assert len(found) == 3


def test_the_teacher_is_left_as_it_is(data, teacher):
    before = (teacher.folder / "teacher.safetensors").read_bytes()
    distill(data, teacher, "stcd")
    assert (teacher.folder / "teacher.safetensors").read_bytes() == before


def test_a_student_that_needs_no_teacher(data):
    assert math.isfinite(distill(data, None, "none").metrics["val_mae"])


def test_a_method_without_its_teacher_is_refused(data):
    with pytest.raises(ConfigError, match="method ord needs a teacher; train one first"):
        distill(data, None, "ord")


@pytest.mark.parametrize("method", ["scd", "tcd", "stcd", "skd"])
def test_a_student_of_one_block_learns_from_the_first_block_of_its_teacher(data, teacher, method):
    config = StudentConfig(method, settings_of(method), ONE_EPOCH, ((1, 2, 4),))
    student = distill_student(data, teacher, config, None, ignore)
    assert math.isfinite(student.metrics["val_mae"])
    assert len(student.model.config.channels) == 1


@pytest.mark.parametrize(("method", "pairs"), [("skd", None), ("stcd", None), ("stcd", 4)])
def test_a_killed_student_goes_on_with_the_same_numbers(data, teacher, tmp_path, method, pairs):
    config = StudentConfig(method, settings_of(method), TRAINING, pairs=pairs)
    checkpoints = CheckpointFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        distill_student(data, teacher, config, checkpoints, killed_after_one_epoch)
    resumed = distill_student(data, teacher, config, checkpoints, ignore)
    wanted = distill_student(data, teacher, config, None, ignore)
    assert resumed.metrics == wanted.metrics
    assert (resumed.epochs, resumed.best_epoch) == (2, wanted.best_epoch)
    assert_same_bits(resumed.model.state_dict(), wanted.model.state_dict())


def test_sampled_pairs_depend_on_the_seed(data, teacher):
    def loss_with(seed: int, pairs: int | None) -> float:
        training = replace(ONE_EPOCH, seed=seed)
        config = StudentConfig("scd", settings_of("scd"), training, pairs=pairs)
        return distill_student(data, teacher, config, None, ignore).metrics["train_scd"]

    assert loss_with(0, 4) == loss_with(0, 4)
    assert loss_with(0, 4) != loss_with(0, None)
    assert loss_with(0, 200) == pytest.approx(loss_with(0, None), rel=0.1)


def test_the_objective_joins_each_window_with_its_own_target(data, teacher):
    """Whoever predicts what the teacher does loses nothing, whatever the order of windows."""
    model = teacher.load(data)
    targets = load_teacher_targets(teacher.targets_folder, model, data, ["prediction"])
    objective = DistillationObjective(make_loss("rd_l2", {"beta": 1.0}), targets)
    rows = torch.tensor([290, 7, 600, 8])
    windows = torch.stack([data.readings[row : row + 12] for row in rows])[:, None]
    with torch.no_grad():
        prediction, features = model(windows)
    target = data.readings[rows + 12]
    # Stored in 16 bits.
    assert objective(prediction[:, 0], features, target, rows).total < 1e-8
    assert objective(prediction[:, 0], features, target, rows.flip(0)).total > 1e-4


@pytest.fixture(scope="module")
def direct_teacher(data, storage) -> Teacher:
    return train_teacher(data, replace(TEACHER, form=FORMS["direct"].network), storage, ignore)


@pytest.mark.parametrize("method", ["rd_kl", "skd", "stcd"])
@pytest.mark.parametrize("teacher_form", FORMS)
@pytest.mark.parametrize("form", FORMS)
def test_any_teacher_teaches_any_student(data, teacher, direct_teacher, form, teacher_form, method):
    config = StudentConfig(method, settings_of(method), ONE_EPOCH, form=FORMS[form].network)
    taught_by = {"paper": teacher, "direct": direct_teacher}[teacher_form]
    student = distill_student(data, taught_by, config, None, ignore)
    assert (student.model.config.head == "horizon") == (form == "direct")
    assert student.model.config.horizon_steps == data.horizon_steps
    assert all(math.isfinite(value) for value in student.metrics.values())


def test_a_teacher_of_another_form_is_another_teacher(data, teacher, direct_teacher):
    assert direct_teacher.fingerprint != teacher.fingerprint
    assert direct_teacher == open_teacher(direct_teacher.folder)
    config = direct_teacher.load(data).config
    assert {name: getattr(config, name) for name in vars(FORMS["direct"].network)} == vars(
        FORMS["direct"].network
    )
    assert "form" not in teacher.settings


def test_students_and_teachers_are_trained_by_the_error_asked_for(data, teacher, storage):
    absolute = replace(ONE_EPOCH, error="mae")
    other = train_teacher(data, replace(TEACHER, training=absolute), storage, ignore)
    assert other.settings["training"]["error"] == "mae"
    squared, mean = distill(data, None, "none"), distill(data, None, "none", absolute)
    assert squared.metrics["train_loss"] != mean.metrics["train_loss"]
    assert distill(data, teacher, "ord", absolute).metrics != distill(data, teacher, "ord").metrics


def test_a_horizon_that_is_not_the_datas_is_refused(data):
    shape = replace(network_shape(data, TEACHER.channels, FORMS["direct"].network), horizon_steps=4)
    model = new_network(shape, data.graph_kernel, 0)
    objective = DistillationObjective(make_loss("none", {}), None)
    text = "must predict the 9 steps of the horizon of tiny, got horizon_steps 4"
    with pytest.raises(ConfigError, match=text):
        Trainer(model, data, objective, TRAINING)


def test_new_weights_depend_on_the_seed_alone(data):
    shape = STGCNConfig(data.card.num_sensors)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = new_network(shape, data.graph_kernel, 5)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    assert_same_bits(new_network(shape, data.graph_kernel, 5).state_dict(), first.state_dict())
    other = new_network(shape, data.graph_kernel, 6)
    assert not torch.equal(other.output.weight, first.output.weight)


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
def test_both_backends_of_the_correlation_terms_train_the_same_student(data, teacher, monkeypatch):
    compiled = distill(data, teacher, "stcd", TRAINING)
    calls: list[str] = []
    monkeypatch.setattr(correlation_backends, "import_compiled_terms", calls.append)
    plain = distill(data, teacher, "stcd", TRAINING)
    assert calls
    assert plain.metrics == pytest.approx(compiled.metrics, rel=1e-4)
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[name], value, rtol=0.0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_student_learns_more_than_that_nothing_changes(tmp_path):
    """About 0.8 times the error of repeating the last reading, over seeds and networks."""
    data = prepare(build_synthetic(tmp_path / "roads", num_sensors=12, split=(14, 2, 1)))
    training = TrainingConfig(
        epochs=15,
        batch_size=32,
        learning_rate=1e-2,
        optimizer="adam",
        schedule="cosine",
        windows_per_segment=4,
    )
    config = StudentConfig("none", {}, training, ((1, 4, 8), (8, 4, 8)))
    student = distill_student(data, None, config, None, ignore)
    unchanged = repeat_last(data, "validation")
    assert student.metrics["val_mae"] < 0.95 * unchanged["mae"]
    assert student.metrics["val_rmse"] < 0.95 * unchanged["rmse"]
