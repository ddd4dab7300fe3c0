"""Sweeps on the disk as they lie after a search, made without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.checkpoint import save_model
from core.preprocessing.prepare import PreparedData
from hpo.results import TrialRecord, write_record
from hpo.search_space import built_in_search_space
from hpo.sweep_config import SweepConfig
from hpo.sweep_store import SweepFolder, SweepPlan
from tests.small_students import make_student


def record(trial: int, val_mae: float, **changes: Any) -> TrialRecord:
    """A finished trial of ``none`` whose other errors follow from ``val_mae``."""
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
    """A sweep that ended with ``records``; ``changes`` go into its plan."""
    first = records[0]
    objective = changes.pop("objective", "val_mae")
    config = SweepConfig(first.sweep, first.method, first.dataset, objective=objective)
    folder = SweepFolder(storage / first.sweep)
    fields: dict[str, Any] = {
        "config": config,
        "space": built_in_search_space(first.method),
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


def make_students(folder: SweepFolder, data: PreparedData, trials: list[int]) -> None:
    """Leave untrained students, whose weights depend on the trial's number."""
    for trial in trials:
        save_model(folder.student(trial), make_student(data, seed=trial), {})
