"""Commands that end without a student say so and why, with exit code 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.datasets.dataset import open_dataset
from hpo.cli.main import run
from hpo.records.sweep_folder import SweepFolder
from hpo.records.trial_records import TrialRecord, write_record
from tests.small_sweeps import make_sweep, record

Output = pytest.CaptureFixture[str]
FAILED = [
    record(0, 1.0, status="failed", reason="out of luck"),
    *(record(at, 1.0, status="failed", reason=f"the loss is nan in epoch {at}") for at in (1, 2)),
]
WHY = "all 3 trials failed, 2 of them because the loss is nan in epoch 1"
DONE = record(3, 2.0)


def ending_with(records: list[TrialRecord]) -> Callable[..., list[TrialRecord]]:
    return lambda *_, **__: records


def begin(monkeypatch: pytest.MonkeyPatch, records: list[TrialRecord], *options: str) -> int:
    monkeypatch.setattr("hpo.sweep.run_sweep", ending_with(records))
    return run(["sweep", "none", "--dataset", "small", "--name", "first", *options])


def test_a_sweep_whose_trials_all_failed_has_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    assert begin(monkeypatch, FAILED) == 1
    out, err = capsys.readouterr()
    assert err == f"hpo: sweep 'first' has no student: {WHY}; see `hpo status first`\n"
    assert "next:" not in out


def test_json_stays_alone_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    assert begin(monkeypatch, FAILED, "--format", "json") == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == {"sweep": "first", "trials": 3, "failed": 3, "best": None}
    assert WHY in err


def test_a_sweep_with_one_student_has_not_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    assert begin(monkeypatch, [*FAILED, DONE]) == 0
    out, err = capsys.readouterr()
    assert "3 failed, 2 of them because the loss is nan in epoch 1" in out
    assert err == ""


def test_a_sweep_without_an_ended_trial_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert begin(monkeypatch, []) == 0  # its time was up


def test_a_sweep_resumed_to_nothing_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    make_sweep(tmp_path, FAILED)
    monkeypatch.setattr("hpo.sweep.resume_sweep", ending_with(FAILED))
    assert run(["resume", "first", "--storage", str(tmp_path)]) == 1
    assert WHY in capsys.readouterr().err


def confirmed_by(runs: list[TrialRecord], monkeypatch: pytest.MonkeyPatch, storage: Path) -> int:
    folder = make_sweep(storage, [DONE])

    def train(*_: Any) -> None:
        for one in runs:
            write_record(folder.confirmation.results, one)

    monkeypatch.setattr("hpo.outcomes.confirmation_runs.run_confirmation", train)
    return run(["confirm", "first", "--storage", str(storage)])


def test_a_confirmation_whose_runs_all_failed_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    assert confirmed_by(FAILED, monkeypatch, tmp_path) == 1
    out, err = capsys.readouterr()
    assert f"hpo: the confirmation of 'first' has no student: {WHY}" in err
    assert "`hpo trial first 0 --confirmation`" in err
    assert "next:" not in out


def test_a_confirmation_with_one_student_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    assert confirmed_by([*FAILED, DONE], monkeypatch, tmp_path) == 0
    assert "next: hpo export first --top 1" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["confirm", "first"], ["export", "first"]])
def test_a_sweep_without_a_student_has_none_to_confirm_or_export(
    tmp_path: Path, capsys: Output, command: list[str]
) -> None:
    make_sweep(tmp_path, FAILED)
    assert run([*command, "--storage", str(tmp_path)]) == 2
    line = f"hpo: sweep 'first' has no student: {WHY}; see `hpo status first`\n"
    assert tuple(capsys.readouterr()) == ("", line)


def test_a_dataset_without_a_student_has_none_to_export(tmp_path: Path, capsys: Output) -> None:
    make_sweep(tmp_path, FAILED)
    assert run(["export", "--dataset", "small", "--storage", str(tmp_path)]) == 2
    assert f"hpo: dataset 'small' has no student: {WHY};" in capsys.readouterr().err


@pytest.fixture
def failed_trial(tmp_path: Path, small_data: Path) -> SweepFolder:
    """A sweep whose only trial failed, as its ledger and its record have it."""
    from hpo.records.ledger import Ledger

    settings = {"learning_rate": 0.01, "batch_size": 5000}
    reason = (
        "batch_size must not exceed the 520 training windows of small, got 5000; choose a smaller "
        "one"
    )
    fingerprint = open_dataset(small_data / "small").fingerprint
    failed = record(0, 1.0, status="failed", reason=reason, settings=settings, metrics={}, seed=7)
    folder = make_sweep(tmp_path / "runs", [failed], small_data, dataset_fingerprint=fingerprint)
    ledger = Ledger(folder.ledger_file)
    ledger.append("suggested", trial=0, settings=settings, seed=7)
    ledger.append("ended", trial=0, status="failed", metrics={}, reason=reason)
    ledger.close()
    return folder


def test_a_rerun_that_fails_again_has_failed(failed_trial: SweepFolder, capsys: Output) -> None:
    given = ["trial", "first", "0", "--storage", str(failed_trial.storage)]
    assert run(given) == 0
    assert "batch_size must not exceed" in capsys.readouterr().out
    assert run([*given, "--rerun"]) == 1
    out, err = capsys.readouterr()
    assert "hpo: run again: it failed as before: " in err
    assert "batch_size must not exceed the 520 training windows of small, got 5000" in err
    assert "the same numbers" not in out
