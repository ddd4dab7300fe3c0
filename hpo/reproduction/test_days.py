"""Judge trained networks on the test days, once, and keep their errors day by day beside them.

    STORAGE/NAME/confirmation/trials/0003/test_days.json    of a run
    STORAGE/teachers/FINGERPRINT/test_days.json             of a teacher or pruning base

A file that is there is read instead of looking again; it names the weights that it judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.checkpoint import load_model
from core.ensemble import Network
from core.errors import ExportError, StorageError
from core.evaluation.daily_errors import errors_by_day
from core.evaluation.forecasting import new_errors
from core.evaluation.metrics import ForecastErrors
from core.files import sha256_of_file, write_json
from core.preprocessing.prepare import PreparedData
from core.training.teacher_files import TEACHER_FILE
from core.training.teachers import Teacher
from hpo.records.layout import TEST_DAYS
from hpo.records.sweep_folder import SweepFolder
from hpo.records.trial_files import download_student, has_student
from hpo.records.trial_records import TrialRecord
from hpo.storage.storage import Storage, storage_at


@dataclass(frozen=True)
class JudgedDays:
    """The errors of one network on every test day, by the day's number."""

    days: dict[int, ForecastErrors]

    def summary(self) -> dict[str, float]:
        """Return ``mae_15`` … ``rmse`` over all days (``ForecastErrors.summary``)."""
        first, *others = self.days.values()
        whole = ForecastErrors(first.minutes, [1] * len(first.minutes))
        for one in (first, *others):
            whole.sums = whole.sums + one.sums
        return whole.summary()


def judge_runs(home: SweepFolder, runs: Iterable[TrialRecord], data: PreparedData) -> None:
    """Judge those students of a sweep or confirmation that were not judged before.

    Raises:
        ExportError: a student that was never judged is gone.
    """
    for run in runs:
        if run.status == "finished":
            student_test_days(home, run, data)


def student_test_days(home: SweepFolder, run: TrialRecord, data: PreparedData) -> JudgedDays:
    """Return the errors of a run's student on the test days; errors are those of ``judge_runs``."""
    file = home.test_days(run.trial)
    known = _read(home.store, file, data)
    if known is not None:
        return known
    if not has_student(home, run.trial):
        option = "" if home.path.name == home.name else " --confirmation"
        raise ExportError(
            f"trial {run.trial} of {home.name!r} must have a student to be judged, but it is gone; "
            f"train it again by `hpo trial {home.name} {run.trial}{option} --rerun`"
        )
    download_student(home, run.trial)
    weights = home.student(run.trial)
    model, _ = load_model(weights, data.graph_kernel)
    return _judged(model, data, file, weights, home.store)


def teacher_test_days(teacher: Teacher, data: PreparedData) -> JudgedDays:
    """Return the errors of a teacher, or of a pruning base, on the test days."""
    file, store = teacher.folder / TEST_DAYS, storage_at(teacher.folder.parents[1])
    known = _read(store, file, data)
    if known is not None:
        return known
    return _judged(teacher.load(data), data, file, teacher.folder / TEACHER_FILE, store)


def repeated_test_days(data: PreparedData) -> JudgedDays:
    """Return the errors of repeating the last reading on the test days."""
    return JudgedDays(errors_by_day(None, data, "test"))


def _judged(
    model: Network, data: PreparedData, file: Path, weights: Path, store: Storage
) -> JudgedDays:
    found = JudgedDays(errors_by_day(model, data, "test"))
    content = {
        "dataset_fingerprint": data.fingerprint,
        "weights_sha256": sha256_of_file(weights),
        "days": {str(day): _plain(errors) for day, errors in found.days.items()},
    }
    write_json(file, content)
    store.upload(file)
    return found


def _plain(errors: ForecastErrors) -> dict[str, Any]:
    return {"windows": errors.windows, "sums": errors.sums.tolist()}


def _read(store: Storage, file: Path, data: PreparedData) -> JudgedDays | None:
    """Return what a file holds; None where there is none of this data.

    Raises:
        StorageError: it is damaged.
    """
    if not store.exists(file):
        return None
    store.download([file])
    try:
        content = json.loads(file.read_text())
        if content["dataset_fingerprint"] != data.fingerprint:
            return None
        days = {int(day): _errors(values, data) for day, values in content["days"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{file} must hold errors of test days: {error}; delete it, and they are measured again"
        ) from error
    return JudgedDays(days)


def _errors(values: dict[str, Any], data: PreparedData) -> ForecastErrors:
    errors = new_errors(data)
    sums = torch.tensor(values["sums"], dtype=torch.float64)
    if sums.shape != errors.sums.shape:
        raise ValueError(f"sums of shape {[*errors.sums.shape]}, got {[*sums.shape]}")
    errors.sums, errors.windows = sums, int(values["windows"])
    return errors
