"""Run a recorded trial again by itself and compare its numbers with the record.

Runs in this process, without Ray, and writes neither checkpoints nor records. Only a student that
was not kept is written again, if the rerun gave the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from core.errors import ConfigError, TrainingDivergedError, UnknownNameError, UserError
from core.experiments import OnEpoch, TrainedStudent
from core.training.trainer import EpochReport
from hpo.records.ledger import read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_state import Trial
from hpo.records.trial_files import TrialFiles, has_student
from hpo.records.trial_records import TrialRecord, read_record
from hpo.trials.student_training import open_plan, save_student, train_trial, use_threads


@dataclass(frozen=True)
class Difference:
    """A number, or the way the trial ended, that differs from the record."""

    where: str
    """``epoch 3``, or ``end``."""
    name: str
    recorded: Any
    now: Any


@dataclass(frozen=True)
class Rerun:
    """The result of running a trial again."""

    epochs: int
    """Number of epochs compared."""
    differences: list[Difference]
    restored: bool = False
    """Whether the student's file was missing and was written again."""
    failure: str | None = None
    """Why it failed now; None where it did not."""

    @property
    def same(self) -> bool:
        """Whether every number equals the record's."""
        return not self.differences


class _PrunedHereError(Exception):
    """Ends a rerun at the epoch at which the recorded trial was pruned."""


def find_trial(folder: SweepFolder, number: int) -> tuple[Trial, TrialRecord | None]:
    """Return a trial's state in the ledger and, if it has ended, its record.

    Raises:
        UnknownNameError: there is no such trial.
        StorageError: its record is damaged.
    """
    trials = read_ledger(folder.ledger_file).trials
    if number not in trials:
        known = map(str, trials)
        raise UnknownNameError(f"trial of {folder.name!r}", str(number), known)
    return trials[number], read_record(folder.results, number)


def rerun_trial(folder: SweepFolder, number: int, on_epoch: OnEpoch) -> Rerun:
    """Run a trial again in this process and compare.

    A trial that was pruned runs to the same epoch.

    Args:
        folder: of a sweep, or of its confirmation.
        number: of the trial.
        on_epoch: called after every epoch.

    Raises:
        UserError: there is no such trial, it has not ended, or it was never trained.
    """
    trial, record = find_trial(folder, number)
    if record is None or record.status == "infeasible":
        why = "has not ended" if record is None else "was never trained"
        raise ConfigError(
            f"only what was run can be run again, but trial {number} of {folder.name!r} {why}; "
            f"see `hpo status {folder.name}`"
        )
    use_threads(open_plan(folder)[0].config.cpus_per_trial)
    reported: dict[int, dict[str, float]] = {}
    until = max(trial.history, default=0) if record.status == "pruned" else math.inf

    def receive(report: EpochReport) -> None:
        reported[report.epoch] = report.metrics
        on_epoch(report)
        if report.epoch >= until:
            raise _PrunedHereError

    ended, student = _ended(folder, record, receive)
    differences = [
        difference
        for epoch, metrics in trial.history.items()
        for difference in _compare(f"epoch {epoch}", metrics, reported.get(epoch, {}))
    ]
    differences += _compare("end", _end_of(record), ended)
    gone = student is not None and not has_student(folder, number)
    if student is not None and gone and not differences:
        save_student(folder, number, student)
        TrialFiles(folder, number).upload_student()
    failure = ended.get("reason") if ended["status"] == "failed" else None
    return Rerun(len(trial.history), differences, gone and not differences, failure)


def _ended(
    folder: SweepFolder, record: TrialRecord, on_epoch: OnEpoch
) -> tuple[dict[str, Any], TrainedStudent | None]:
    try:
        student = train_trial(folder, record.settings, record.seed, None, on_epoch)
    except _PrunedHereError:
        return {"status": "pruned"}, None
    except (TrainingDivergedError, UserError) as error:
        return {"status": "failed", "reason": str(error)}, None
    return {"status": "finished", "best_epoch": student.best_epoch, **student.metrics}, student


def _end_of(record: TrialRecord) -> dict[str, Any]:
    if record.status == "finished":
        return {"status": "finished", "best_epoch": record.best_epoch, **record.metrics}
    reason = {} if record.reason is None else {"reason": record.reason}
    return {"status": record.status, **reason}


def _compare(where: str, recorded: dict[str, Any], now: dict[str, Any]) -> list[Difference]:
    return [
        Difference(where, name, value, now.get(name))
        for name, value in recorded.items()
        if now.get(name) != value
    ]
