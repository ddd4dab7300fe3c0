"""Sweeps of every kind as they lie on the disk, made without a search, for tests of reports."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.checkpoint import save_model
from core.datasets.dataset import Dataset, open_dataset, write_card
from core.datasets.sensor_places import SensorPlace
from core.experiments import new_network
from core.files import write_json
from core.preprocessing.prepare import PreparedData, prepare
from core.stgcn import STGCNConfig
from hpo.records.ledger import Ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.records.trial_records import TrialRecord, read_records, write_record
from hpo.space.search_space import SearchSpace, built_in_search_space
from hpo.sweep_config import SweepConfig
from tests.small_students import make_dataset, make_student
from tests.small_sweeps import make_students, record

TEACHER = "a" * 16
REASON = "loss is </script><b>not finite</b>"
"""What a careless page would run."""
WIDTHS = built_in_search_space("widths", "paper")
BASELINES = {"repeat_last": 6.0, "teacher": 2.0}


@dataclass(frozen=True)
class Storage:
    """A data folder and a storage beside it."""

    data_folder: Path
    path: Path
    data: PreparedData

    def sweep(self, name: str, method: str, errors: list[float | str], **plan: Any) -> SweepFolder:
        """A sweep of a trial per entry: its error, or how else it ended, or ``running``."""
        config = {
            "form": "paper",  # as the students that ``make_students`` leaves
            "trials": len(errors),
            "epochs": 3,
            "objective": plan.pop("objective", "val_mae"),
            **plan.pop("config", {}),
        }
        fields = {
            "config": SweepConfig(name, method, "small", **config),
            "space": built_in_search_space(method, "paper"),
            "data_folder": str(self.data_folder),
            "dataset_fingerprint": self.data.fingerprint,
            "teacher_fingerprint": None if method == "none" else TEACHER,
            "baselines": {key: _errors(value) for key, value in BASELINES.items()},
            "command": f"hpo sweep {method} --dataset small --name {name}",
            **plan,
        }
        folder = SweepFolder(self.path / name)
        folder.write_plan(SweepPlan(**fields))
        ledger = Ledger(folder.ledger_file)
        for trial, error in enumerate(errors):
            self._add(folder, ledger, settings_of(fields["space"], trial), error)
        ledger.close()
        return folder

    def _add(
        self, folder: SweepFolder, ledger: Ledger, settings: dict[str, Any], error: float | str
    ) -> None:
        trial = len(ledger.state.trials)
        status = "finished" if isinstance(error, float) else error
        value = error if isinstance(error, float) else 9.0
        ledger.append("suggested", trial=trial, settings=settings, seed=100 + trial)
        epochs = () if status == "infeasible" else (1.5, 0.5, 0.0)
        for epoch, more in enumerate(epochs, start=1):
            ledger.append("epoch", trial=trial, epoch=epoch, metrics=_errors(value + more))
        if status == "running":
            return
        reason = {"failed": REASON, "infeasible": "too large"}.get(status)
        metrics = _errors(value) if status == "finished" else {}
        sizes = {"parameters": 1000 + 100 * trial, "flops": 5000 + 100 * trial}
        if "latency_ms" in folder.read_plan().config.objectives:
            sizes["latency_ms"] = 3.0 + trial / 2
        told = {"status": status, "metrics": metrics, "reason": reason}
        ledger.append("ended", trial=trial, sizes=sizes, **told)
        own = {
            **told,
            **sizes,
            "sweep": folder.name,
            "method": folder.read_plan().config.method,
            "settings": settings,
            "dataset_fingerprint": self.data.fingerprint,
            "student": f"{folder.name}/trials/{trial:04d}/student.safetensors",
        }
        write_record(folder.results, record(trial, value, **own))


PLACES = tuple(
    SensorPlace(name, "5", "N", 34.0 + 0.01 * at, -118.0 - 0.02 * at)
    for at, name in enumerate(("Ash", "Birch", "Cedar", "Date", "Elm"))
)


def with_places(folder: Path) -> Dataset:
    """The small dataset, whose sensors have places."""
    write_card(folder, replace(make_dataset(folder).card, places=PLACES))
    return open_dataset(folder)


def make_storage(folder: Path) -> Storage:
    """A dataset of five sensors and an untrained teacher of it, no sweeps yet."""
    data = prepare(with_places(folder / "data" / "small"))
    storage = Storage(folder / "data", folder / "runs", data)
    channels = ((1, 4, 8), (8, 4, 8))
    network = new_network(STGCNConfig(5, channels, data.history_steps), data.graph_kernel, seed=5)
    known = {
        "dataset_fingerprint": data.fingerprint,
        "settings": {"channels": channels},
        "metrics": _errors(BASELINES["teacher"]),
        "seconds": 1.0,
    }
    save_model(storage.path / "teachers" / TEACHER / "teacher.safetensors", network, known)
    return storage


def make_every_sweep(storage: Storage) -> None:
    """One sweep of every kind that a report meets."""
    errors: list[float | str] = [5.0, 4.5, "pruned", 4.0, "failed", 3.5, 4.2, 3.0, 4.4, 5.5, 4.8]
    make_students(storage.sweep("good", "ord", errors), storage.data, [7])
    plain = storage.sweep("plain", "none", [4.0, 3.5], teacher_fingerprint=None)
    make_students(plain, storage.data, [0, 1])
    storage.sweep("broken", "none", ["failed", "failed"], teacher_fingerprint=None)
    running = storage.sweep("running", "ord", [4.0, "running"], config={"trials": 20})
    make_students(running, storage.data, [0])
    pruned = storage.sweep("pruned", "prune", [4.0, 3.5])
    make_students(pruned, storage.data, [0, 1])
    for trial in (0, 1):
        write_json(pruned.trajectory(trial), _trajectory(trial))
    wide = storage.sweep("wide", "stcd", [4.0, "infeasible", 3.6], space=WIDTHS)
    make_students(wide, storage.data, [2])
    reference = {"val_mae": 6.0, "parameters": 2000.0, "latency_ms": 6.0}
    weighed = {"objective": "val_mae,parameters,latency_ms", "reference": reference}
    make_students(storage.sweep("weighed", "none", [4.0, 3.5, 3.4], **weighed), storage.data, [2])


def confirm(storage: Storage, sweep: str, trial: int, errors: list[float]) -> None:
    """Leave runs of a trial's configuration on fresh seeds, with students."""
    folder = SweepFolder(storage.path / sweep).confirmation
    plan = SweepFolder(storage.path / sweep).read_plan()
    for run, error in enumerate(errors):
        place = f"{sweep}/confirmation/trials/{run:04d}/student.safetensors"
        settings = settings_of(plan.space, trial)
        own = {"sweep": sweep, "settings": settings, "student": place}
        write_record(folder.results, record(run, error, **own))
        save_model(folder.student(run), make_student(storage.data, seed=50 + run), {})


def settings_of(space: SearchSpace, trial: int) -> dict[str, Any]:
    """The first settings of a space, with a learning rate, and a width if searched, per trial."""
    width = {"block1_out": 4 + trial} if "block1_out" in space.parameters else {}
    return {**space.points()[0], "learning_rate": 0.001 * (trial + 1), **width}


def shown_record(folder: SweepFolder, trial: int) -> TrialRecord:
    """The record of a trial as it was written."""
    return next(one for one in read_records(folder.results) if one.trial == trial)


def _errors(error: float) -> dict[str, float]:
    by_horizon = {f"val_mae_{at}": error + at / 100 for at in (15, 30, 45)}
    return {"val_mae": error, "val_rmse": 2 * error, **by_horizon}


def _trajectory(trial: int) -> list[dict[str, Any]]:
    steps = []
    for epoch, parameters in enumerate((4000, 3000, 2000 - trial), start=1):
        step = {"epoch": epoch, "step": 10 * epoch, "parameters": parameters, "flops": 9000}
        steps += [{**step, "metrics": None}, {**step, "metrics": _errors(6.0 - epoch)}]
    return steps
