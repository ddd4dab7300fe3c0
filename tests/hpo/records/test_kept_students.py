"""Students of ended trials: which ones stay on the disk, and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError, ExportError
from hpo.outcomes.export_best import export_best
from hpo.records.kept_students import StudentKeeper, best_trials
from hpo.records.ledger import Ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_state import SweepState, Trial
from hpo.sweep_config import SweepConfig
from tests.small_sweeps import make_sweep, record

FRONT = {"objective": "val_mae,parameters"}
ERRORS = (3.0, 1.0, 5.0, 2.0, 4.0)


def note(ledger: Ledger, error: float | None, status: str = "finished", **cost: int) -> None:
    """Note one more trial: running if it has no error."""
    number = len(ledger.state.trials)
    ledger.append("suggested", trial=number, settings={"alpha1": number / 10}, seed=number)
    if error is not None:
        metrics = {"val_mae": error}
        ledger.append(
            "ended", trial=number, status=status, reason=None, metrics=metrics, sizes=cost
        )


def leave_students(folder: SweepFolder, trials: range) -> None:
    for trial in trials:
        folder.student(trial).parent.mkdir(parents=True, exist_ok=True)
        folder.student(trial).write_text(str(trial))


def kept(folder: SweepFolder) -> list[int]:
    return sorted(int(path.parent.name) for path in folder.path.glob("trials/*/student.*"))


def config(**changes: Any) -> SweepConfig:
    return SweepConfig("night", "none", "small", **changes)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Five finished trials, a sixth that runs and a seventh that failed, all with students."""
    folder = SweepFolder(tmp_path / "night")
    folder.path.mkdir()
    leave_students(folder, range(7))
    ledger = Ledger(folder.ledger_file)
    for error in ERRORS:
        note(ledger, error)
    note(ledger, None)
    note(ledger, 0.5, status="failed")
    return ledger


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "night")


@pytest.mark.parametrize(("most", "left"), [(1, [1, 5]), (3, [0, 1, 3, 5]), (None, [*range(7)])])
def test_the_best_are_kept_and_what_runs_is_not_touched(
    ledger: Ledger, folder: SweepFolder, most: int | None, left: list[int]
) -> None:
    keeper = StudentKeeper(folder, config(keep_checkpoints=most))
    for _ in range(2):
        keeper.tidy(ledger.state)
        assert kept(folder) == left


def test_a_better_one_takes_the_place_of_the_worst(ledger: Ledger, folder: SweepFolder) -> None:
    keeper = StudentKeeper(folder, config(keep_checkpoints=2))
    keeper.tidy(ledger.state)
    assert kept(folder) == [1, 3, 5]
    ledger.append("ended", trial=5, status="finished", reason=None, metrics={"val_mae": 1.5})
    keeper.tidy(ledger.state)
    assert kept(folder) == [1, 5]


def test_what_an_export_or_a_confirmation_came_from_is_kept(
    ledger: Ledger, folder: SweepFolder
) -> None:
    (folder.exports / "1-trial-0002").mkdir(parents=True)
    (folder.exports / "2-trial-0000-run-0004").mkdir()
    folder.confirmation.path.mkdir()
    confirmation = Ledger(folder.confirmation.ledger_file)
    confirmation.append("suggested", trial=0, settings={"alpha1": 0.4}, seed=9)
    StudentKeeper(folder, config(keep_checkpoints=1)).tidy(ledger.state)
    assert kept(folder) == [0, 1, 2, 4, 5]


def test_the_front_comes_before_all_others(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for error, parameters in [(2.0, 50), (1.0, 90), (1.5, 95), (9.0, 10), (1.0, 90)]:
        note(ledger, error, parameters=parameters, flops=1)
    objectives = config(**FRONT).objectives
    assert best_trials(ledger.state, objectives) == [1, 4, 0, 3, 2]
    assert best_trials(ledger.state, ("val_mae",)) == [1, 4, 2, 0, 3]


def test_equal_trials_come_by_number_and_the_first_are_kept(folder: SweepFolder) -> None:
    state = SweepState()
    for number in (10_000, 9_999, 10_001):
        state.trials[number] = Trial(number, {}, 0, "", "finished", metrics={"val_mae": 1.0})
    leave_students(folder, range(9_999, 10_002))
    assert best_trials(state, ("val_mae",)) == [9_999, 10_000, 10_001]
    (folder.exports / "1-trial-10001").mkdir(parents=True)
    StudentKeeper(folder, config(keep_checkpoints=1)).tidy(state)
    assert kept(folder) == [9_999, 10_001]


def test_no_less_than_one_is_kept() -> None:
    with pytest.raises(ConfigError, match="--keep-checkpoints must be at least 1, got 0"):
        config(keep_checkpoints=0)


def test_an_export_says_how_to_get_a_student_that_was_not_kept(tmp_path: Path) -> None:
    records = [record(number, error) for number, error in enumerate(ERRORS)]
    sweep = make_sweep(tmp_path, records, config=config(keep_checkpoints=2))
    leave_students(sweep, range(1, 2))
    message = (
        r"trial 3 of 'first' must have a student at .*, but only the best 2 were kept, as 2 more; "
        r"train it again by `hpo trial first 3 --rerun`, then export again"
    )
    with pytest.raises(ExportError, match=message) as caught:
        export_best(sweep, top=4)
    assert "\n" not in str(caught.value)
    assert not sweep.exports.exists()
