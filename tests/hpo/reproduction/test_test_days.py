"""Test days are looked at once, and what was seen is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.checkpoint import load_model
from core.errors import ExportError, StorageError
from core.evaluation.forecasting import evaluate
from core.preprocessing.prepare import PreparedData
from hpo.records.sweep_folder import SweepFolder
from hpo.reproduction.test_days import judge_runs, student_test_days
from tests.small_sweeps import make_students, record


@pytest.fixture
def home(prepared: PreparedData, tmp_path: Path) -> SweepFolder:
    """A sweep with one student."""
    folder = SweepFolder(tmp_path / "first")
    make_students(folder, prepared, [0])
    return folder


def test_a_student_is_judged_once(home: SweepFolder, prepared: PreparedData) -> None:
    run = record(0, 3.0)
    model, _ = load_model(home.student(0), prepared.graph_kernel)
    judge_runs(home, [run, record(1, 3.0, status="failed")], prepared)
    first = student_test_days(home, run, prepared).summary()
    assert first == pytest.approx(evaluate(model, prepared, "test"))
    home.student(0).unlink()
    assert student_test_days(home, run, prepared).summary() == first


def test_what_is_gone_unseen_or_of_other_data_is_said(
    home: SweepFolder, prepared: PreparedData
) -> None:
    run = record(0, 3.0)
    judge_runs(home, [run], prepared)
    other = replace(prepared, fingerprint="0" * 16)
    home.student(0).unlink()
    with pytest.raises(ExportError, match="hpo trial first 0 --rerun"):
        student_test_days(home, run, other)
    with pytest.raises(ExportError, match="hpo trial first 2 --confirmation --rerun"):
        student_test_days(home.confirmation, record(2, 3.0), prepared)


@pytest.mark.parametrize("days", ["", "3", '{"1": 1}', '{"1": {"sums": [1], "windows": 2}}'])
def test_a_damaged_file_is_named(home: SweepFolder, prepared: PreparedData, days: str) -> None:
    content = f'{{"dataset_fingerprint": "{prepared.fingerprint}", "days": {days}}}'
    home.test_days(0).write_text(content)
    with pytest.raises(StorageError, match="must hold errors of test days"):
        student_test_days(home, record(0, 3.0), prepared)
