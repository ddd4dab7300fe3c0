"""A trial as a worker runs it, with Ray's report replaced by a list."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from core.checkpoint import load_model
from core.experiments import train_teacher
from core.files import write_bytes
from core.forms import DEFAULT_FORM, FORMS
from core.preprocessing.prepare import PreparedData
from core.stgcn import PRUNING_BASE_CHANNELS, STUDENT_CHANNELS, STGCNConfig
from core.training.teachers import Teacher, TeacherConfig
from core.training.trainer import TrainingConfig
from hpo.planning.places import Places
from hpo.planning.sweep_planning import plan_sweep
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_state import OUT_OF_MEMORY
from hpo.sweep_config import SweepConfig
from hpo.trials import ray_trainable as trainables
from hpo.trials import student_training as trial_runs
from hpo.trials.ray_trainable import run_trial
from hpo.trials.trial_settings import StudentSizes, student_config

SETTINGS = {"batch_size": 50, "learning_rate": 0.01, "optimizer": "adam", "schedule": "cosine"}
EPOCHS = 3
Reports = list[dict[str, Any]]


class WorkerKilledError(BaseException):
    """Ends a trial the way a signal does: nothing in it can catch it."""


def begin(storage: Path, data: Path, method: str = "none", **settings: Any) -> SweepFolder:
    config = SweepConfig("night", method, "small", epochs=EPOCHS, **settings)
    folder = SweepFolder(storage / "night")
    folder.write_plan(plan_sweep(config, Places(data, storage))[0])
    return folder


@pytest.fixture
def folder(tmp_path: Path, small_data: Path) -> SweepFolder:
    return begin(tmp_path, small_data)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Reports:
    """What a trial reports to Ray Tune."""
    heard: Reports = []
    monkeypatch.setattr(trainables.tune, "report", heard.append)
    return heard


def task(folder: SweepFolder, trial: int = 0, **settings: Any) -> dict[str, Any]:
    chosen = {**SETTINGS, **settings}
    return {"sweep": str(folder.path), "trial": trial, "seed": 5, "settings": chosen}


def test_settings_are_sorted_into_weights_and_training() -> None:
    settings = {**SETTINGS, "alpha1": 0.5, "alpha2": 1}
    sweep = SweepConfig("night", "stcd", "small", epochs=9, pairs=7, form="paper")
    config = student_config(sweep, settings, seed=4)
    assert config.pairs == 7
    assert config.method == "stcd"
    assert config.weights == {"alpha1": 0.5, "alpha2": 1.0}
    assert config.training == TrainingConfig(epochs=9, seed=4, windows_per_segment=5, **SETTINGS)


@pytest.mark.parametrize(("given", "windows"), [({}, 5), ({"batch_size": 3}, 3)])
def test_windows_that_no_space_names_go_by_segments_of_five(
    given: dict[str, int], windows: int
) -> None:
    sweep = SweepConfig("night", "none", "small", epochs=9)
    assert student_config(sweep, given, 4).training.windows_per_segment == windows
    named = student_config(sweep, {"windows_per_segment": 1}, 4)
    assert named.training.windows_per_segment == 1


def test_a_trial_reports_every_epoch_and_then_its_end(
    folder: SweepFolder, reports: Reports, prepared: PreparedData
) -> None:
    run_trial(task(folder, trial=7))
    assert [report.get("epoch") for report in reports] == [1, 2, 3, 3]
    assert all(report["trial"] == 7 for report in reports)
    assert ["ended" in report for report in reports] == [False, False, False, True]
    last = reports[-1]
    assert (last["status"], last["reason"]) == ("finished", None)
    errors = [report["val_mae"] for report in reports[:-1]]
    assert last["val_mae"] == min(errors)
    assert last["best_epoch"] == errors.index(min(errors)) + 1
    model, metadata = load_model(folder.student(7), prepared.graph_kernel)
    assert sum(tensor.numel() for tensor in model.parameters()) == last["parameters"]
    assert (metadata["trial"], metadata["sweep"]) == (7, "night")


def test_a_trial_killed_before_its_last_word_was_heard_only_says_it_again(
    folder: SweepFolder, reports: Reports
) -> None:
    run_trial(task(folder, trial=7))
    last = reports[-1]
    reports.clear()
    run_trial(task(folder, trial=7))
    assert [report["epoch"] for report in reports] == [EPOCHS - 1, EPOCHS, EPOCHS]
    assert reports[-1] == last


def test_a_killed_trial_goes_on_and_ends_with_the_same_numbers(
    folder: SweepFolder, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_trial(task(folder, trial=0))
    whole = list(reports)
    reports.clear()

    def die_at_epoch_2(report: dict[str, Any]) -> None:
        reports.append(report)
        if report["epoch"] == 2:
            raise WorkerKilledError

    monkeypatch.setattr(trainables.tune, "report", die_at_epoch_2)
    with pytest.raises(WorkerKilledError):
        run_trial(task(folder, trial=1))
    monkeypatch.setattr(trainables.tune, "report", reports.append)
    assert not folder.student(1).exists()
    run_trial(task(folder, trial=1))
    assert [report.get("epoch") for report in reports] == [1, 2, 1, 2, 3, 3]
    assert reports[2:4] == reports[:2]
    del reports[2:4]
    for before, after in zip(whole, reports, strict=True):
        same = before.keys() - {"trial", "seconds"}
        assert {key: before[key] for key in same} == {key: after[key] for key in same}
    assert folder.student(0).stat().st_size == folder.student(1).stat().st_size


def test_two_epochs_that_nobody_heard_of_are_told_when_the_trial_goes_on(
    folder: SweepFolder, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_trial(task(folder, trial=0))
    whole = list(reports)
    reports.clear()

    def die_unheard(report: dict[str, Any]) -> None:
        if report["epoch"] == 2:
            raise WorkerKilledError

    monkeypatch.setattr(trainables.tune, "report", die_unheard)
    with pytest.raises(WorkerKilledError):
        run_trial(task(folder, trial=1))
    monkeypatch.setattr(trainables.tune, "report", reports.append)
    run_trial(task(folder, trial=1))
    assert [report["val_mae"] for report in reports] == [report["val_mae"] for report in whole]


def test_a_diverging_trial_fails_with_its_reason(folder: SweepFolder, reports: Reports) -> None:
    run_trial(task(folder, learning_rate=1e30))
    last = reports[-1]
    assert (last["status"], last["ended"]) == ("failed", True)
    assert "must stay finite, got" in last["reason"]
    assert "lower the learning rate of 1e+30" in last["reason"]
    assert not folder.student(0).exists()


def test_a_batch_that_the_data_cannot_fill_fails_with_its_reason(
    folder: SweepFolder, reports: Reports
) -> None:
    run_trial(task(folder, batch_size=10**6))
    assert [report["status"] for report in reports] == ["failed"]
    assert "batch_size must not exceed" in reports[0]["reason"]


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (
            torch.OutOfMemoryError("tried 3 GiB"),
            OUT_OF_MEMORY,
            r"out of GPU memory: tried 3 GiB; ask for more",
        ),
        (
            RuntimeError("shapes differ"),
            "failed",
            r"RuntimeError: shapes differ \(test_\w+\.py:\d+\)",
        ),
        (ZeroDivisionError("division"), "failed", r"ZeroDivisionError: division"),
    ],
)
def test_whatever_ends_a_trial_does_not_end_the_sweep(
    folder: SweepFolder,
    reports: Reports,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: str,
    reason: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(trial_runs, "distill_student", fail)
    run_trial(task(folder))
    assert [report["status"] for report in reports] == [status]
    assert re.search(reason, reports[0]["reason"])


@pytest.fixture
def teacher(tmp_path: Path, prepared: PreparedData) -> Teacher:
    """A hasty one, of the form that sweeps have unless they say otherwise."""
    quick = TrainingConfig(epochs=1, learning_rate=1e-2, windows_per_segment=5)
    config = TeacherConfig(STUDENT_CHANNELS, quick, FORMS[DEFAULT_FORM].network)
    return train_teacher(prepared, config, tmp_path, lambda _: None)


def test_targets_lie_where_the_machine_wants_them_and_change_nothing(
    tmp_path: Path,
    small_data: Path,
    teacher: Teacher,
    reports: Reports,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stcd = {"alpha1": 0.5, "alpha2": 0.5, "alpha3": 0.5}
    folder = begin(tmp_path, small_data, "stcd")
    run_trial(task(folder, **stcd))
    monkeypatch.setenv("HPO_CACHE", str(tmp_path / "disk"))
    run_trial(task(folder, trial=1, **stcd))
    own = tmp_path / "disk" / teacher.fingerprint / "targets"
    stored = {path.name for path in own.iterdir()}
    assert stored == {"prediction", "temporal", "spatial-distances"}
    assert {path.name for path in teacher.targets_folder.iterdir()} == stored
    assert reports[EPOCHS]["val_mae"] == reports[-1]["val_mae"]


def test_targets_keep_within_their_budget(
    tmp_path: Path, small_data: Path, teacher: Teacher, reports: Reports
) -> None:
    folder = begin(tmp_path, small_data, "stcd", targets_gigabytes=0.0)
    run_trial(task(folder, alpha1=0.5, alpha2=0.5, alpha3=0.5))
    assert reports[-1]["status"] == "finished"
    assert {path.name for path in teacher.targets_folder.iterdir()} == {"prediction"}


def test_a_taught_trial_uses_the_planned_teacher(
    tmp_path: Path, small_data: Path, teacher: Teacher, reports: Reports
) -> None:
    folder = begin(tmp_path, small_data, "ord")
    run_trial(task(folder, alpha1=0.5))
    assert reports[-1]["status"] == "finished"
    assert math.isfinite(reports[-1]["val_mae"])
    assert (teacher.targets_folder / "prediction").is_dir()
    write_bytes(tmp_path / "teachers" / ("d" * 16) / "teacher.safetensors", b"damaged")
    run_trial(task(folder, trial=2, alpha1=0.5))
    assert reports[-1]["status"] == "finished"
    (teacher.folder / "teacher.safetensors").unlink()
    run_trial(task(folder, trial=1, alpha1=0.5))
    assert reports[-1]["status"] == "failed"
    assert f"unknown teacher of small '{teacher.fingerprint}'" in reports[-1]["reason"]


PRUNING = {"pruning_interval": 5, "fine_tuning_epochs": 2, "batch_size": 100, "learning_rate": 1e-3}


@pytest.fixture
def pruning(tmp_path: Path, small_data: Path, prepared: PreparedData) -> SweepFolder:
    """A sweep that prunes its base to at most 500 parameters, without a teacher."""
    quick = TrainingConfig(epochs=1, learning_rate=1e-2, windows_per_segment=5)
    base = train_teacher(prepared, TeacherConfig(STUDENT_CHANNELS, quick), tmp_path, lambda _: None)
    folder = SweepFolder(tmp_path / "night")
    settings = {"loss": "none", "base": "teacher", "max_parameters": 500, "form": "paper"}
    config = SweepConfig("night", "prune", "small", epochs=EPOCHS, **settings)
    plan, _ = plan_sweep(config, Places(small_data, tmp_path))
    assert plan.base_fingerprint == plan.teacher_fingerprint == base.fingerprint
    folder.write_plan(plan)
    return folder


def test_a_pruned_trial_ends_with_a_student_that_fits_and_tells_its_way(
    pruning: SweepFolder, reports: Reports, prepared: PreparedData
) -> None:
    run_trial({"sweep": str(pruning.path), "trial": 3, "seed": 5, "settings": PRUNING})
    assert [report.get("epoch") for report in reports] == [1, 2, 3, 4, 5, 5]
    last = reports[-1]
    assert (last["status"], last["reason"]) == ("finished", None)
    model, _ = load_model(pruning.student(3), prepared.graph_kernel)
    assert model.config.kept is not None
    assert sum(tensor.numel() for tensor in model.parameters()) == last["parameters"]
    assert 0.98 * 500 <= last["parameters"] <= 500
    # Known before, too.
    config = pruning.read_plan().config
    base = STGCNConfig(4, STUDENT_CHANNELS, prepared.history_steps)
    expected = StudentSizes(config, prepared, base).of(PRUNING)
    assert expected == {name: last[name] for name in ("parameters", "flops")}
    steps = json.loads(pruning.trajectory(3).read_text())
    assert steps[-1]["parameters"] == last["parameters"]
    sizes = [step["parameters"] for step in steps]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


def test_a_pruned_trial_that_was_killed_goes_on_with_the_same_numbers(
    pruning: SweepFolder, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {"sweep": str(pruning.path), "trial": 1, "seed": 5, "settings": PRUNING}
    run_trial(whole)
    expected = dict(reports[-1])
    reports.clear()

    def killed(report: dict[str, Any]) -> None:
        reports.append(report)
        if report.get("epoch") == 2:
            raise WorkerKilledError

    with monkeypatch.context() as patch:
        patch.setattr(trainables.tune, "report", killed)
        with pytest.raises(WorkerKilledError):
            run_trial({**whole, "trial": 2})
    reports.clear()
    run_trial({**whole, "trial": 2})
    same = expected.keys() - {"trial", "seconds"}
    assert {name: reports[-1][name] for name in same} == {name: expected[name] for name in same}


def test_a_base_is_no_teacher_unless_asked_for_by_name(
    tmp_path: Path, small_data: Path, prepared: PreparedData
) -> None:
    base = TeacherConfig(PRUNING_BASE_CHANNELS, TrainingConfig(epochs=1, windows_per_segment=5))
    trained = train_teacher(prepared, base, tmp_path, lambda _: None)
    places = Places(small_data, tmp_path)
    plan, _ = plan_sweep(SweepConfig("night", "ord", "small"), places)
    assert plan.teacher_fingerprint is None
    named = SweepConfig("night", "ord", "small", teacher=trained.fingerprint)
    assert plan_sweep(named, places)[0].teacher_fingerprint == trained.fingerprint
