"""A trial run again alone: the same numbers, or which ones differ; and what is shown of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError, UnknownNameError
from hpo.cli.main import run
from hpo.planning.places import Places
from hpo.planning.sweep_planning import plan_sweep
from hpo.records.ledger import Ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.trial_records import read_records, write_record
from hpo.sweep_config import SweepConfig
from hpo.trials import ray_trainable as trainables
from hpo.trials.ray_trainable import run_trial
from hpo.trials.rerun import Difference, rerun_trial
from tests.folder_contents import contents
from tests.small_sweeps import make_sweep, record

ROOT = Path(__file__).parents[2]
EPOCHS = 3
GOOD = {"batch_size": 50, "learning_rate": 0.01, "optimizer": "adam", "schedule": "cosine"}


def play(folder: SweepFolder, number: int, settings: dict[str, Any], stop_after: int = 99) -> None:
    """Run a trial as a worker does, and note what a driver notes."""
    reports: list[dict[str, Any]] = []
    seed = 5 + number
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainables.tune, "report", reports.append)
        task = {"sweep": str(folder.path), "trial": number, "seed": seed, "settings": settings}
        run_trial(task)
    *epochs, last = reports
    status = last["status"] if stop_after > EPOCHS else "pruned"
    told = [(one["epoch"], errors(one)) for one in epochs if one["epoch"] <= stop_after]
    metrics = errors(last) if status == "finished" else {}
    ledger = Ledger(folder.ledger_file)
    ledger.append("suggested", trial=number, settings=settings, seed=seed)
    for epoch, reported in told:
        ledger.append("epoch", trial=number, epoch=epoch, metrics=reported)
    ended = {"status": status, "reason": last["reason"], "metrics": metrics}
    ledger.append("ended", trial=number, **ended)
    ledger.close()
    known = {"best_epoch": last.get("best_epoch", 0), "sweep": "night", "settings": settings}
    write_record(folder.results, record(number, 0.0, seed=seed, **known, **ended))


def errors(report: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in report.items() if name.startswith(("val_", "train_"))}


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> SweepFolder:
    """0 finished, 1 was stopped after two epochs, 2 diverged, 3 still runs, 4 was too large."""
    storage = tmp_path_factory.mktemp("reruns") / "runs"
    config = SweepConfig("night", "none", "small", epochs=EPOCHS)
    folder = SweepFolder(storage / "night")
    folder.write_plan(plan_sweep(config, Places(small_data, storage))[0])
    play(folder, 0, GOOD)
    play(folder, 1, {**GOOD, "learning_rate": 0.002}, stop_after=2)
    play(folder, 2, {**GOOD, "learning_rate": 1e30})
    ledger = Ledger(folder.ledger_file)
    ledger.append("suggested", trial=3, settings=GOOD, seed=1)
    ledger.append("suggested", trial=4, settings=GOOD, seed=1)
    ended = {"status": "infeasible", "reason": "too large", "metrics": {}}
    ledger.append("ended", trial=4, **ended)
    ledger.close()
    write_record(folder.results, record(4, 0.0, sweep="night", **ended))
    return folder


@pytest.mark.parametrize(("number", "epochs"), [(0, 3), (1, 2), (2, 0)])
def test_run_again_every_number_is_the_same(night: SweepFolder, number: int, epochs: int) -> None:
    before = contents(night.path)
    heard: list[int] = []
    again = rerun_trial(night, number, lambda report: heard.append(report.epoch))
    assert (again.same, again.epochs, again.differences) == (True, epochs, [])
    assert heard == list(range(1, epochs + 1))
    assert before == contents(night.path)


def test_another_seed_gives_other_numbers_and_they_are_named(night: SweepFolder) -> None:
    (first,) = [one for one in read_records(night.results) if one.trial == 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hpo.trials.rerun.read_record", lambda *_: replace(first, seed=6))
        again = rerun_trial(night, 0, lambda _: None)
    assert not again.same
    changed = {(one.where, one.name) for one in again.differences}
    assert {("epoch 1", "val_mae"), ("end", "val_mae")} <= changed
    one = next(one for one in again.differences if (one.where, one.name) == ("end", "val_mae"))
    assert isinstance(one, Difference)
    assert one.recorded == first.metrics["val_mae"] != one.now


def test_a_student_that_was_not_kept_comes_back_byte_by_byte(
    night: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    student = night.student(0)
    before = student.read_bytes()
    student.unlink()
    (first,) = [one for one in read_records(night.results) if one.trial == 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hpo.trials.rerun.read_record", lambda *_: replace(first, seed=6))
        assert not rerun_trial(night, 0, lambda _: None).restored
    assert not student.exists()
    given = ["trial", "night", "0", "--rerun", "--storage", str(night.storage)]
    assert run(given) == 0
    assert "its student is back; next: hpo export night" in capsys.readouterr().out
    assert student.read_bytes() == before
    assert not rerun_trial(night, 0, lambda _: None).restored


@pytest.mark.parametrize(("number", "why"), [(3, "has not ended"), (4, "was never trained")])
def test_what_was_not_run_cannot_be_run_again(night: SweepFolder, number: int, why: str) -> None:
    with pytest.raises(ConfigError, match=f"but trial {number} of 'night' {why}"):
        rerun_trial(night, number, lambda _: None)


def test_an_unknown_trial_is_named(night: SweepFolder) -> None:
    with pytest.raises(UnknownNameError, match="unknown trial of 'night' '9'"):
        rerun_trial(night, 9, lambda _: None)


def test_everything_recorded_is_shown(
    night: SweepFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    given = ["trial", "night", "0", "--storage", str(night.storage)]
    assert run(given) == 0
    out = capsys.readouterr().out
    plan = night.read_plan()
    for text in ("learning_rate=0.01", "finished", "somewhere", "torch=2", "hpo trial night 0"):
        assert text in out
    assert plan.dataset_fingerprint in out
    assert run([*given, "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer["history"]) == ["1", "2", "3"]
    assert (answer["seed"], answer["rerun"]) == (5, None)
    assert answer["record"]["metrics"] == answer["metrics"]
    assert answer["command"] == f"hpo trial night 0 --rerun --storage {night.storage}"


def test_a_family_is_shown_where_it_is_not_the_usual_one(
    night: SweepFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_sweep(tmp_path, [record(0, 1.0, sweep="other", form="direct", family="astgcn")])
    ledger = Ledger(other.ledger_file)
    ledger.append("suggested", trial=0, settings={}, seed=1)
    ledger.close()
    for folder, shown in ((night, False), (other, True)):
        assert run(["trial", folder.name, "0", "--storage", str(folder.storage)]) == 0
        assert ("\nfamily " in capsys.readouterr().out) == shown
    assert run(["best", "--dataset", "small", "--storage", str(tmp_path)]) == 0
    assert "family=astgcn form=direct" in capsys.readouterr().out


def test_a_rerun_that_differs_fails(
    night: SweepFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["trial", "night", "1", "--rerun", "--storage", str(night.storage)]
    assert run(given) == 0
    assert "run again: the same numbers, in all 2 epochs" in capsys.readouterr().out
    (first,) = [one for one in read_records(night.results) if one.trial == 1]
    monkeypatch.setattr("hpo.trials.rerun.read_record", lambda *_: replace(first, seed=9))
    assert run(given) == 1
    out, err = capsys.readouterr()
    assert "numbers differ" in out
    assert "epoch 1: " in out
    assert "epoch 1 of 3: val_mae" in err


def test_a_rerun_does_without_ray(night: SweepFolder) -> None:
    given = ["trial", "night", "1", "--rerun", "--storage", str(night.storage)]
    program = (
        "import sys\nfrom hpo.cli.main import run\ncode = run(sys.argv[1:])\n"
        "assert 'ray' not in sys.modules\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *given], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
