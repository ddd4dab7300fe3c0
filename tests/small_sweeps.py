"""Sweeps on the disk as they lie after a search, made without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.checkpoint import save_model
from core.preprocessing.prepare import PreparedData
from hpo.records.ledger import Ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.records.trial_records import TrialRecord, write_record
from hpo.space.search_space import built_in_search_space
from hpo.sweep_config import SweepConfig
from tests.small_students import make_student

SETTINGS = {
    "learning_rate": 0.01,
    "batch_size": 50,
    "optimizer": "adam",
    "schedule": "step",
    "windows_per_segment": 5,
}


def record(trial: int, val_mae: float, **changes: Any) -> TrialRecord:
    """A finished trial of ``none`` and of the paper's form; its errors follow from ``val_mae``."""
    errors = {f"val_mae_{at}": val_mae + at / 100 for at in (15, 30, 45)}
    fields: dict[str, Any] = {
        "sweep": "first",
        "trial": trial,
        "status": "finished",
        "reason": None,
        "dataset": "small",
        "method": "none",
        "settings": {"learning_rate": 0.01, "batch_size": 50, "optimizer": "adam"},
        "metrics": {"val_mae": val_mae, "val_rmse": 10.0 - val_mae, **errors},
        "parameters": 1000,
        "flops": 5000,
        "epochs": 4,
        "best_epoch": 3,
        "seconds": 1.5,
        "seed": 100 + trial,
        "started": "2026-01-01T00:00:00+00:00",
        "ended": f"2026-01-01T00:00:{trial:02d}+00:00",
        "dataset_fingerprint": "d" * 16,
        "teacher_fingerprint": None,
        "space_fingerprint": "s" * 16,
        "student": None,
        "versions": {"stgcn-student-search": "0", "torch": "2"},
        "machine": "somewhere",
    }
    return TrialRecord(**{**fields, **changes})


def make_sweep(
    storage: Path, records: list[TrialRecord], data_folder: Path = Path("data"), **changes: Any
) -> SweepFolder:
    """A sweep that ended with ``records``, of their kind; ``changes`` go into its plan."""
    first = records[0]
    objective = changes.pop("objective", "val_mae")
    config = SweepConfig(
        first.sweep,
        first.method,
        first.dataset,
        objective=objective,
        form=first.form,
        family=first.family,
    )
    folder = SweepFolder(storage / first.sweep)
    fields: dict[str, Any] = {
        "config": config,
        "space": built_in_search_space(first.method, first.form),
        "data_folder": str(data_folder),
        "dataset_fingerprint": first.dataset_fingerprint,
        "teacher_fingerprint": first.teacher_fingerprint,
        "baselines": {},
        "command": "hpo sweep none",
    }
    folder.write_plan(SweepPlan(**{**fields, **changes}))
    for one in records:
        write_record(folder.results, one)
    return folder


def note(ledger: Ledger, number: int, errors: list[float], status: str | None) -> None:
    """A trial with these errors by epoch; ``status`` None: it still runs."""
    ledger.append("suggested", trial=number, settings=SETTINGS, seed=70 + number)
    for epoch, error in enumerate(errors, start=1):
        metrics = {"val_mae": error, "train_loss": error / 2}
        ledger.append("epoch", trial=number, epoch=epoch, metrics=metrics)
    if status is not None:
        metrics = {"val_mae": min(errors)} if status != "failed" else {}
        reason = "too hot" if status == "failed" else None
        ledger.append("ended", trial=number, status=status, metrics=metrics, reason=reason)


def make_sweep_under_way(storage: Path) -> SweepFolder:
    """Of 20 trials: 0 finished, 1 was stopped, 2 failed, 3 runs."""
    folder = make_sweep(storage, [record(0, 1.0)])
    ledger = Ledger(folder.ledger_file)
    note(ledger, 0, [3.0, 2.0, 2.5], "finished")
    note(ledger, 1, [9.0], "pruned")
    note(ledger, 2, [4.0], "failed")
    note(ledger, 3, [5.0], None)
    ledger.close()
    return folder


def make_students(folder: SweepFolder, data: PreparedData, trials: list[int]) -> None:
    """Leave untrained students, whose weights depend on the trial's number."""
    for trial in trials:
        save_model(folder.student(trial), make_student(data, seed=trial), {})
