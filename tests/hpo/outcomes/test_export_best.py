from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import core.export.export_folder
import hpo.outcomes.export_best
from core.checkpoint import save_model
from core.datasets.dataset import Dataset
from core.errors import ConfigError, ExportError, UnknownNameError
from core.evaluation.forecasting import evaluate
from core.export.export_folder import open_export
from core.export.manifest import read_manifest
from core.files import sha256_of_file
from core.preprocessing.prepare import PreparedData, prepare
from hpo.cli.settings_options import add_command
from hpo.cli.students.evaluate import evaluate as evaluate_command
from hpo.cli.students.export import export as export_command
from hpo.cli.students.readings_source import reading_options
from hpo.outcomes.export_best import export_best, export_dataset_best
from hpo.records.sweep_folder import SweepFolder
from hpo.records.trial_records import write_record
from tests.small_students import (
    SENSORS,
    WINDOWS_PER_DAY,
    make_dataset,
    make_student,
    stand_in_forecasters,
)
from tests.small_sweeps import make_students, make_sweep, record

TEACHER = "a" * 16


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("data") / "small")


@pytest.fixture(scope="module")
def data(dataset: Dataset) -> PreparedData:
    return prepare(dataset)


@pytest.fixture
def data_folder(dataset: Dataset, tmp_path: Path) -> Path:
    make_dataset(tmp_path / "data" / "small")
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def no_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX itself is tested with ``core.export.export_folder``."""
    stand_in_forecasters(monkeypatch)


@pytest.fixture
def looks_at_test_days(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which parts have been evaluated, one entry per look."""
    looks: list[str] = []

    def watched(model, data, part):
        looks.append(part)
        return evaluate(model, data, part)

    monkeypatch.setattr(core.export.export_folder, "evaluate", watched)
    monkeypatch.setattr(hpo.outcomes.export_best, "evaluate", watched)
    return looks


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def new_sweep(storage: Path, data_folder: Path, data: PreparedData, **changes) -> SweepFolder:
    """Trials 0 .. 3; 3 failed, 1 is the best, then 2, then 0."""
    name = changes.pop("sweep", "first")
    shared = {"sweep": name, "dataset_fingerprint": data.fingerprint}
    shared["teacher_fingerprint"] = changes.pop("teacher_fingerprint", None)
    records = [
        record(0, 3.0, **shared),
        record(1, 1.0, **shared),
        record(2, 2.0, **shared),
        record(3, 0.5, status="failed", reason="diverged", **shared),
    ]
    folder = make_sweep(storage, records, data_folder, **changes)
    make_students(folder, data, [0, 1, 2])
    return folder


@pytest.fixture
def sweep(storage: Path, data_folder: Path, data: PreparedData) -> SweepFolder:
    return new_sweep(storage, data_folder, data)


def test_the_best_trials_become_exports(sweep: SweepFolder, data: PreparedData) -> None:
    exports = export_best(sweep, top=2)
    assert exports == [
        sweep.path / "exports" / "1-trial-0001",
        sweep.path / "exports" / "2-trial-0002",
    ]
    for path, trial in zip(exports, (1, 2), strict=True):
        export = open_export(path)
        assert torch.equal(export.model.output.weight, make_student(data, trial).output.weight)
        expected = evaluate(make_student(data, trial), data, "test")
        assert export.manifest["metrics"]["test"]["student"] == pytest.approx(expected)
        assert export.manifest["metrics"]["validation"]["val_mae"] == trial


def test_manifest_tells_settings_and_lineage(sweep: SweepFolder, data: PreparedData) -> None:
    manifest = read_manifest(export_best(sweep, top=1)[0])
    assert manifest["settings"] == {
        "method": "none",
        "form": "paper",
        "learning_rate": 0.01,
        "batch_size": 50,
        "optimizer": "adam",
        "epochs": 4,
        "seed": 101,
    }
    assert manifest["lineage"] == {
        "dataset": "small",
        "dataset_fingerprint": data.fingerprint,
        "teacher_fingerprint": None,
        "space_fingerprint": "s" * 16,
        "sweep": "first",
        "trial": 1,
        "seed": 101,
        "best_epoch": 3,
        "ended": "2026-01-01T00:00:01+00:00",
        "machine": "somewhere",
        "versions": {"stgcn-student-search": "0", "torch": "2"},
        "command": "hpo sweep none",
    }


def test_the_sweeps_own_objective_decides(
    storage: Path, data_folder: Path, data: PreparedData
) -> None:
    sweep = new_sweep(storage, data_folder, data, objective="val_rmse")
    assert [path.name for path in export_best(sweep, top=2)] == ["1-trial-0000", "2-trial-0002"]


def test_asked_again_nothing_is_looked_at_again(
    sweep: SweepFolder, looks_at_test_days: list[str]
) -> None:
    first = export_best(sweep, top=2)
    stamps = [(path / "manifest.json").stat().st_mtime_ns for path in first]
    assert looks_at_test_days == ["test"] * 2
    assert export_best(sweep, top=2) == first
    assert [(path / "manifest.json").stat().st_mtime_ns for path in first] == stamps
    assert export_best(sweep, top=3)[:2] == first
    assert looks_at_test_days == ["test"] * 3


def test_a_damaged_export_is_made_again(sweep: SweepFolder) -> None:
    (path,) = export_best(sweep, top=1)
    (path / "model.safetensors").write_bytes(b"")
    assert export_best(sweep, top=1) == [path]
    open_export(path)


def test_an_export_of_another_run_of_that_name_is_replaced(
    sweep: SweepFolder, storage: Path, data_folder: Path, data: PreparedData
) -> None:
    (path,) = export_best(sweep, top=1)
    again = new_sweep(storage, data_folder, data, command="hpo sweep none --seed 1")
    assert export_best(again, top=1) == [path]
    assert read_manifest(path)["lineage"]["command"] == "hpo sweep none --seed 1"


def test_an_earlier_export_keeps_its_place_when_its_rank_changes(
    sweep: SweepFolder, looks_at_test_days: list[str]
) -> None:
    (before,) = export_best(sweep, top=1)
    (sweep.results / "0001.parquet").rename(sweep.results / "kept")
    assert export_best(sweep, top=1)[0].name == "1-trial-0002"
    (sweep.results / "kept").rename(sweep.results / "0001.parquet")
    assert export_best(sweep, top=1) == [before]
    assert len(looks_at_test_days) == 2


def test_of_several_exports_of_a_student_the_one_of_the_best_rank_is_returned(
    sweep: SweepFolder,
) -> None:
    (path,) = export_best(sweep, top=1)
    later, latest = (path.with_name(f"{rank}-trial-0001") for rank in (9, 10))
    shutil.copytree(path, latest)
    path.rename(later)
    assert export_best(sweep, top=1) == [later]


def test_fewer_than_asked_for_come_back(sweep: SweepFolder) -> None:
    assert len(export_best(sweep, top=10)) == 3


def test_the_teacher_is_judged_once_for_comparison(
    storage: Path, data_folder: Path, data: PreparedData, looks_at_test_days: list[str]
) -> None:
    sweep = new_sweep(storage, data_folder, data, teacher_fingerprint=TEACHER)
    teacher = make_student(data, seed=9)
    facts = {
        "dataset_fingerprint": data.fingerprint,
        "settings": {},
        "metrics": {"val_mae": 1.0},
        "seconds": 1.0,
    }
    save_model(storage / "teachers" / TEACHER / "teacher.safetensors", teacher, facts)
    for path in export_best(sweep, top=2):
        test = read_manifest(path)["metrics"]["test"]
        assert test["teacher"] == pytest.approx(evaluate(teacher, data, "test"))
    assert len(looks_at_test_days) == 3


def test_a_teacher_that_is_gone_is_left_out(
    storage: Path, data_folder: Path, data: PreparedData
) -> None:
    sweep = new_sweep(storage, data_folder, data, teacher_fingerprint=TEACHER)
    manifest = read_manifest(export_best(sweep, top=1)[0])
    assert set(manifest["metrics"]["test"]) == {"student", "repeat_last"}
    assert manifest["lineage"]["teacher_fingerprint"] == TEACHER


def test_copies_go_where_they_are_wanted(
    sweep: SweepFolder, tmp_path: Path, looks_at_test_days: list[str]
) -> None:
    for out in (tmp_path / "one", tmp_path / "two", tmp_path / "one"):
        (copy,) = export_best(sweep, top=1, out=out)
        assert copy == out / "1-trial-0001"
        assert open_export(copy).manifest == open_export(export_best(sweep, top=1)[0]).manifest
    assert looks_at_test_days == ["test"]


def test_a_copy_replaces_nothing_else(sweep: SweepFolder, tmp_path: Path) -> None:
    other = tmp_path / "out" / "1-trial-0001"
    other.mkdir(parents=True)
    (other / "thesis.tex").write_text("mine")
    with pytest.raises(ExportError, match=r"must not exist yet, .* choose another --out"):
        export_best(sweep, top=1, out=tmp_path / "out")
    assert (other / "thesis.tex").read_text() == "mine"


def test_without_a_finished_trial_there_is_nothing_to_export(
    storage: Path, data_folder: Path
) -> None:
    failed = record(0, 1.0, status="failed", reason="too hot")
    sweep = make_sweep(storage, [failed], data_folder)
    why = "has no student: the only trial failed, because too hot; see `hpo status`"
    for confirmed in (True, False):
        with pytest.raises(ExportError, match=f"sweep 'first' {why}"):
            export_best(sweep, top=1, confirmed=confirmed)
        with pytest.raises(ExportError, match=f"dataset 'small' {why}"):
            export_dataset_best("small", storage, top=1, confirmed=confirmed)
    assert not (sweep.path / "exports").exists()


def test_a_confirmation_whose_runs_all_failed_is_no_lack_of_one(
    storage: Path, data_folder: Path
) -> None:
    sweep = make_sweep(storage, [record(0, 1.0)], data_folder)
    for run in range(2):
        failed = record(run, 1.0, status="failed", reason=f"too hot in epoch {run}")
        write_record(sweep.confirmation.results, failed)
    line = "the confirmation of sweep 'first' has no student: all 2 trials failed, because too hot"
    with pytest.raises(ExportError, match=line):
        export_best(sweep, top=1, confirmed=True)


def test_a_student_that_is_gone_is_missed(sweep: SweepFolder) -> None:
    sweep.student(1).unlink()
    with pytest.raises(ExportError, match=r"trial 1 of 'first' must have a student at .*gone"):
        export_best(sweep, top=1)


def test_no_less_than_one(sweep: SweepFolder) -> None:
    with pytest.raises(ConfigError, match="--top must be at least 1, got 0"):
        export_best(sweep, top=0)


def test_the_best_of_all_sweeps_of_a_dataset(
    sweep: SweepFolder, storage: Path, data_folder: Path, data: PreparedData, tmp_path: Path
) -> None:
    second = new_sweep(storage, data_folder, data, sweep="second")
    exports = export_dataset_best("small", storage, top=3)
    assert exports == [
        sweep.path / "exports" / "1-trial-0001",
        second.path / "exports" / "1-trial-0001",
        sweep.path / "exports" / "2-trial-0002",
    ]
    copies = export_dataset_best("small", storage, top=2, out=tmp_path / "out")
    assert [path.name for path in copies] == ["1-first-trial-0001", "2-second-trial-0001"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    """``hpo export`` and ``hpo evaluate``, as programs are run."""
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    app.command("export")(export_command)
    add_command(app, evaluate_command, reading_options)
    return lambda *arguments: CliRunner().invoke(
        app, [str(one) for one in arguments], catch_exceptions=False
    )


def test_export_command_tells_what_came_out(sweep: SweepFolder, run) -> None:
    asked = ("--top", 9, "--unconfirmed", "--format", "json")
    answer = run("export", "first", "--storage", sweep.storage, *asked)
    rows = json.loads(answer.stdout)
    assert [row["trial"] for row in rows] == [1, 2, 0]
    assert [row["folder"] for row in rows] == [str(path) for path in export_best(sweep, top=3)]
    assert rows[0]["metrics"] == read_manifest(Path(rows[0]["folder"]))["metrics"]
    assert "only 3 of 9" in answer.stderr
    assert "about" not in answer.stderr, "nothing was exported here before"
    assert "about" not in run("export", "first", "--storage", sweep.storage, *asked).stderr
    shutil.rmtree(rows[2]["folder"])
    again = run("export", "first", "--storage", sweep.storage, *asked)
    assert re.search(r"writing one export: about \d+ (s|min)\n", again.stderr)


def test_export_command_compares_in_a_table(sweep: SweepFolder, run) -> None:
    answer = run("export", "--dataset", "small", "--storage", sweep.storage, "--unconfirmed")
    test = read_manifest(sweep.path / "exports" / "1-trial-0001")["metrics"]["test"]
    for who in ("student", "repeat_last"):
        assert f"{test[who]['mae_45']:.2f}" in answer.stdout
    assert "test MAE, mph" in answer.stdout
    assert "not confirmed" in answer.stdout
    assert str(sweep.path / "exports" / "1-trial-0001") in answer.stdout
    # The student is untrained.
    assert "trial 1 of first on its test days is no better than repeating" in answer.stderr
    assert "next:" not in answer.stdout


@pytest.mark.parametrize("arguments", [[], ["first", "--dataset", "small"]])
def test_export_command_needs_a_sweep_or_a_dataset(run, arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="either the name of a sweep or --dataset"):
        run("export", *arguments)


def test_export_command_suggests_a_sweep(sweep: SweepFolder, run) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'first'"):
        run("export", "frist", "--storage", sweep.storage)


@pytest.fixture
def export_folder(sweep: SweepFolder, tmp_path: Path) -> Path:
    """Alone: neither sweep nor dataset are there any more."""
    (folder,) = export_best(sweep, top=1, out=tmp_path / "taken away")
    shutil.rmtree(sweep.storage)
    shutil.rmtree(tmp_path / "data")
    return folder


@pytest.fixture
def readings_file(dataset: Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "readings.csv"
    lines = [
        ",".join("" if np.isnan(value) else repr(float(value)) for value in row)
        for row in dataset.readings
    ]
    path.write_text("\n".join([",".join(SENSORS), *lines]) + "\n")
    return path


def edit_dataset(export_folder: Path, **changes: object) -> None:
    manifest = read_manifest(export_folder)
    manifest["dataset"].update(changes)
    (export_folder / "manifest.json").write_text(json.dumps(manifest))


def test_evaluate_command_gives_the_test_errors_from_folder_and_file_alone(
    export_folder: Path, readings_file: Path, run
) -> None:
    answer = run(
        *("evaluate", export_folder, "--readings", readings_file),
        *("--days", "4-5", "--format", "json"),
    )
    found = json.loads(answer.stdout)
    test = read_manifest(export_folder)["metrics"]["test"]["student"]
    assert list(found) == ["mae", "mape", "rmse", "windows", "repeat_last", "intervals"]
    for metric in ("mae", "mape", "rmse"):
        by_minutes = {at: test[f"{metric}_{at}"] for at in ("15", "30", "45")}
        assert found[metric] == pytest.approx(by_minutes, rel=1e-6)
    assert found["windows"] == 2 * WINDOWS_PER_DAY
    last = read_manifest(export_folder)["metrics"]["test"]["repeat_last"]
    assert found["repeat_last"]["rmse"]["45"] == pytest.approx(last["rmse_45"], rel=1e-6)
    (line,) = answer.stderr.splitlines()
    assert line.startswith("note: this student is no better than repeating the last reading")


def test_evaluate_command_prints_a_table(export_folder: Path, readings_file: Path, run) -> None:
    answer = run("evaluate", export_folder, "--readings", readings_file, "--days", "5")
    assert "82 windows" in answer.stdout
    for text in ("15 min", "45 min", "MAE, mph", "MAPE, %", "RMSE, mph"):
        assert text in answer.stdout


@pytest.mark.parametrize(
    ("days", "noted"), [([], True), (["--days", "3-5"], True), (["--days", "4-5"], False)]
)
def test_evaluate_command_tells_training_days_from_test_days(
    export_folder: Path, readings_file: Path, run, days: list[str], noted: bool
) -> None:
    edit_dataset(export_folder, sources={"readings.csv": sha256_of_file(readings_file)})
    answer = run("evaluate", export_folder, "--readings", readings_file, *days)
    assert ("training days; judge the test days alone by --days 4-5" in answer.stderr) is noted


def test_evaluate_command_reads_as_the_students_data_were_read(
    export_folder: Path, readings_file: Path, run
) -> None:
    arguments = ("evaluate", export_folder, "--readings", readings_file, "--format", "json")
    plain = json.loads(run(*arguments).stdout)
    edit_dataset(export_folder, settings={"missing_value": 0.0, "header": "yes", "array": None})
    without_zeros = json.loads(run(*arguments).stdout)
    assert without_zeros["mae"]["15"] < plain["mae"]["15"]
    assert json.loads(run(*arguments, "--missing-value", "-1").stdout) == plain
    # Another kind of file has no header; only what marks a gap carries over.
    values = np.genfromtxt(readings_file, delimiter=",", skip_header=1, dtype=np.float32)
    np.savez(readings_file.with_suffix(".npz"), data=values)
    other = (*arguments[:3], readings_file.with_suffix(".npz"), *arguments[4:])
    assert json.loads(run(*other).stdout) == without_zeros


def test_evaluate_command_refuses_days_it_cannot_read(
    export_folder: Path, readings_file: Path, run
) -> None:
    with pytest.raises(ConfigError, match="--days must be a day or a range such as 26-29, got 'x'"):
        run("evaluate", export_folder, "--readings", readings_file, "--days", "x")


def test_evaluate_command_refuses_other_sensors(
    export_folder: Path, readings_file: Path, run
) -> None:
    text = readings_file.read_text().replace("middle", "moon", 1)
    readings_file.write_text(text)
    with pytest.raises(ExportError, match="column 4 is 'moon' instead of 'middle'"):
        run("evaluate", export_folder, "--readings", readings_file)


def test_record_of_a_sweep_is_not_changed(sweep: SweepFolder) -> None:
    before = {path: path.read_bytes() for path in sweep.results.iterdir()}
    export_best(sweep, top=1)
    assert {path: path.read_bytes() for path in sweep.results.iterdir()} == before
