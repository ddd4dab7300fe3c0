"""Sweeps in an object store without Ray: the real searcher, ledger and record files drive them.

A machine is an empty cache folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpo.driver.drive import adopt_records
from hpo.records.storage_faults import storage_faults_reported
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.records.sweep_state import Trial
from hpo.records.trial_files import clear_checkpoints, writable_ledger
from hpo.records.trial_records import write_record
from hpo.search.ledger_searcher import LedgerSearcher
from hpo.space.search_space import built_in_search_space
from hpo.storage.storage import open_storage
from hpo.sweep_config import SweepConfig
from tests.small_sweeps import record

TRIALS, EPOCHS = 6, 2
CONFIG = SweepConfig("first", "none", "small", trials=TRIALS, epochs=EPOCHS)


class Machines:
    """Empty caches, one after the other, on one storage."""

    def __init__(self, address: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.address, self.folder, self.patch, self.count = address, folder, patch, 0

    def new(self) -> Path:
        """Go to a new machine and return its mirror of the storage."""
        self.count += 1
        self.patch.setenv("HPO_CACHE", str(self.folder / f"machine-{self.count}"))
        return open_storage(self.address)


def begin(storage: Path, name: str = "first") -> SweepFolder:
    """Fix a plan as ``run_sweep`` does."""
    folder = SweepFolder(storage / name)
    with folder.driver_lock():
        folder.write_plan(a_plan(name))
    return folder


def a_plan(name: str = "first", **changes: Any) -> SweepPlan:
    fields: dict[str, Any] = {
        "config": SweepConfig(**{**vars(CONFIG), "name": name}),
        "space": built_in_search_space("none"),
        "data_folder": "data",
        "dataset_fingerprint": "d" * 16,
        "teacher_fingerprint": None,
        "baselines": {},
        "command": "hpo sweep none",
    }
    return SweepPlan(**{**fields, **changes})


def error_of(trial: int, epoch: int) -> float:
    return 2.0 + (trial * 7 % 5) / 10 + 1 / epoch


def drive(folder: SweepFolder, ended: set[int]) -> None:
    """Drive a sweep as ``drive`` and Ray Tune do; note what the user is told has ended."""

    def write(trial: Trial, status: str, reason: str | None, facts: dict[str, Any]) -> None:
        metrics = record(0, facts["metrics"]["val_mae"]).metrics
        path = write_record(folder.results, record(trial.number, 0, metrics=metrics))
        folder.publish(path)
        clear_checkpoints(folder, trial.number)

    def tell(state: Any) -> None:
        ended.update(trial.number for trial in state.trials.values() if trial.status == "finished")

    with (
        storage_faults_reported(folder),
        folder.driver_lock(),
        writable_ledger(folder, tell) as ledger,
    ):
        adopt_records(folder, ledger)
        tell(ledger.state)  # an end whose upload got no answer may have arrived
        space = folder.read_plan().space
        searcher = LedgerSearcher(CONFIG, space, ledger, folder.address, 1, write)
        while isinstance(asked := searcher.suggest("ray"), dict):
            run(searcher, asked["trial"])


def run(searcher: LedgerSearcher, trial: int) -> None:
    for epoch in range(1, EPOCHS + 1):
        told = {"trial": trial, "epoch": epoch, "val_mae": error_of(trial, epoch)}
        searcher.on_trial_result("ray", told)
    end = {"ended": True, "status": "finished", "reason": None, "val_mae": error_of(trial, EPOCHS)}
    searcher.on_trial_complete("ray", {"trial": trial, "epoch": EPOCHS, **end})
