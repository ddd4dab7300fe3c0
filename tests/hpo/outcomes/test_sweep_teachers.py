"""A student of a sweep becomes a teacher: the best confirmed one, the best, or a named one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from core.checkpoint import load_model
from core.errors import ConfigError, ExportError, UserError
from core.preprocessing.prepare import PreparedData, prepare
from core.training.teacher_files import TEACHER_FILE, teacher_folder
from core.training.teachers import find_teacher
from hpo.cli.sweeps.teacher import teacher as teacher_command
from hpo.outcomes.sweep_teachers import teacher_from_sweep
from hpo.records.sweep_folder import SweepFolder
from hpo.records.trial_records import write_record
from tests.small_students import make_dataset
from tests.small_sweeps import make_students, make_sweep, record


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    return prepare(make_dataset(tmp_path / "data" / "small"))


@pytest.fixture
def sweep(tmp_path: Path, data: PreparedData) -> SweepFolder:
    """Trial 1 is the best, then 2, then 0; 3 failed."""
    shared = {"dataset_fingerprint": data.fingerprint, "form": "direct"}
    errors = [3.0, 1.0, 2.0]
    records = [
        record(at, error, settings={"learning_rate": error / 100}, **shared)
        for at, error in enumerate(errors)
    ]
    records.append(record(3, 0.5, status="failed", reason="diverged", **shared))
    folder = make_sweep(tmp_path / "runs", records, tmp_path / "data")
    make_students(folder, data, [0, 1, 2])
    return folder


def same_weights(student: Path, teacher_file: Path, data: PreparedData) -> bool:
    models = [load_model(path, data.graph_kernel)[0] for path in (student, teacher_file)]
    pairs = zip(*(model.state_dict().values() for model in models), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_the_best_trial_teaches_where_nothing_is_confirmed(
    sweep: SweepFolder, data: PreparedData
) -> None:
    found = teacher_from_sweep(sweep, "small")
    assert (found.settings["sweep"], found.settings["trial"]) == ("first", 1)
    assert (found.settings["form"], found.settings["learning_rate"]) == ("direct", 0.01)
    assert found.metrics["val_mae"] == 1.0
    assert same_weights(sweep.student(1), found.folder / TEACHER_FILE, data)
    assert find_teacher(sweep.storage, data, None) == found


def test_a_named_trial_teaches_and_the_same_is_made_once(
    sweep: SweepFolder, data: PreparedData
) -> None:
    found = teacher_from_sweep(sweep, "small", trial=2)
    assert same_weights(sweep.student(2), found.folder / TEACHER_FILE, data)
    before = (found.folder / TEACHER_FILE).stat().st_mtime_ns
    assert teacher_from_sweep(sweep, "small", trial=2) == found
    assert (found.folder / TEACHER_FILE).stat().st_mtime_ns == before


def test_the_best_run_of_the_best_confirmed_configuration_teaches(
    sweep: SweepFolder, data: PreparedData
) -> None:
    """Trial 2 is confirmed with 1.5 and 1.4, better than trial 1 with 1.9."""
    sweep.confirmation.results.mkdir(parents=True)
    shared = {"dataset_fingerprint": data.fingerprint}
    runs = [(0, 1.9, 0.01), (1, 1.5, 0.02), (2, 1.4, 0.02)]
    for number, error, rate in runs:
        one = record(number, error, settings={"learning_rate": rate}, **shared)
        write_record(sweep.confirmation.results, one)
    make_students(sweep.confirmation, data, [0, 1, 2])
    found = teacher_from_sweep(sweep, "small")
    assert found.metrics["val_mae"] == 1.4
    assert same_weights(sweep.confirmation.student(2), found.folder / TEACHER_FILE, data)
    sweep.confirmation.student(2).unlink()
    with pytest.raises(ExportError, match=r"`hpo trial first 2 --confirmation --rerun`"):
        teacher_from_sweep(sweep, "small")


def test_what_cannot_teach_is_refused(sweep: SweepFolder) -> None:
    with pytest.raises(ConfigError, match="of other must come from a sweep of it, but 'first'"):
        teacher_from_sweep(sweep, "other")
    for trial in (3, 9):
        with pytest.raises(ConfigError, match=f"a finished trial of 'first', got {trial}; see"):
            teacher_from_sweep(sweep, "small", trial)
    sweep.student(0).unlink()
    with pytest.raises(ExportError, match=r"trial 0 of 'first' must have a student.* --rerun"):
        teacher_from_sweep(sweep, "small", trial=0)
    assert not teacher_folder(sweep.storage, "").exists()


def test_a_sweep_without_finished_trials_is_refused(tmp_path: Path, data: PreparedData) -> None:
    failed = record(
        0, 1.0, status="failed", reason="diverged", dataset_fingerprint=data.fingerprint
    )
    folder = make_sweep(tmp_path / "runs", [failed], tmp_path / "data")
    with pytest.raises(UserError, match=r"'first' has no student: the only .* because diverged"):
        teacher_from_sweep(folder, "small")


def test_the_command_says_whose_student_it_was(sweep: SweepFolder, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(teacher_command)
    places = ["--data", str(tmp_path / "data"), "--storage", str(sweep.storage)]
    given = ["small", "--from-sweep", "first", "--trial", "2", *places]
    shown = CliRunner().invoke(app, given)
    assert "trial 2 of first" in " ".join(shown.output.split())
    answer = json.loads(CliRunner().invoke(app, [*given, "--format", "json"]).stdout)
    assert answer["metrics"]["val_mae"] == 2.0
    assert answer["trained_now"] is False
    wrong = CliRunner().invoke(app, ["small", "--trial", "2", *places])
    assert isinstance(wrong.exception, ConfigError)
    assert "--trial names a trial of --from-sweep" in str(wrong.exception)
