"""Measure the overhead of a search and its gain, with whole sweeps on a Ray of two workers.

Each function takes an empty folder, runs sweeps in it and returns plain numbers; its other
arguments make it small enough for a test. Needs no readings: the road network is synthetic, or the
problem has PeMSD7's size and random readings.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna

from benchmarks.problem import make_data
from core.datasets.synthetic import build_synthetic
from core.experiments import train_teacher
from core.stgcn import STUDENT_CHANNELS
from core.training.teachers import TeacherConfig
from core.training.trainer import TrainingConfig
from hpo.driver.recorder import Recorder
from hpo.driver.sweep_run import SweepRun
from hpo.planning.places import Places
from hpo.planning.sweep_planning import plan_sweep
from hpo.records.ledger import now, read_events
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.records.sweep_state import Event, SweepState, Trial
from hpo.records.trial_records import TrialRecord
from hpo.space.search_space import built_in_search_space
from hpo.sweep import SweepObserver, run_sweep
from hpo.sweep_config import SweepConfig

WORKERS = 2
NEAR = 1.01
"""A search has arrived within so much of the best error of any search of its repeat."""


@dataclass
class Clock(SweepObserver):
    """Records when trials end."""

    ends: list[float] = field(default_factory=list)
    first_trial: float | None = None

    def on_change(self, plan: SweepPlan, state: SweepState) -> None:
        """Record the time if a trial has started or ended."""
        if self.first_trial is None and state.trials:
            self.first_trial = time.perf_counter()
        if state.num_ended > len(self.ends):
            self.ends.append(time.perf_counter())


def overhead(folder: Path, trials: int = 100) -> dict[str, Any]:
    """Measure the time of a trial beyond its training, without the first of each worker."""
    build_synthetic(folder / "data" / "small", seed=1, num_sensors=6, split=(2, 1, 1))
    config = _config("none", "small", trials=trials, epochs=1)
    clock = Clock()
    records = run_sweep(config, _places(folder), observer=clock)
    counted = _by_end(folder, config, records)[WORKERS:]
    busy = sum(record.seconds for record in counted)
    wall = clock.ends[-1] - clock.ends[WORKERS - 1]
    return {
        "seconds_per_trial": (WORKERS * wall - busy) / len(counted),
        "training_seconds_per_trial": busy / len(counted),
        "trials": trials,
    }


def efficiency(
    folder: Path, trials: int = 20, epochs: int = 15, days: tuple[int, int] = (22, 4)
) -> dict[str, Any]:
    """Measure the share of the workers' time that is training, in a sweep of ORD."""
    data = make_data(folder, *days)
    places = Places(folder, folder / "runs")
    # As good as any for what a trial costs.
    hasty = TrainingConfig(epochs=1, windows_per_segment=5)
    train_teacher(data, TeacherConfig(STUDENT_CHANNELS, hasty), places.storage, lambda report: None)
    config = _config("ord", "data", trials=trials, epochs=epochs)
    clock, started = Clock(), time.perf_counter()
    records = run_sweep(config, places, observer=clock)
    ended = time.perf_counter()
    busy = sum(record.seconds for record in records)
    first = clock.first_trial or ended
    return {
        "efficiency": busy / (WORKERS * (ended - started)),
        "efficiency_from_the_first_trial_on": busy / (WORKERS * (ended - first)),
        "training_seconds": busy,
        "trials": trials,
    }


def resuming(folder: Path, trials: int = 1000, epochs: int = 30) -> dict[str, Any]:
    """Measure the time of ``hpo resume`` until a sweep of many trials starts its next one."""
    build_synthetic(folder / "data" / "small", seed=1, num_sensors=6, split=(2, 1, 1))
    places = _places(folder)
    sweep = _ended_sweep(places, trials, epochs)
    command = ["resume", sweep.name, "--storage", str(places.storage), "--trials", str(trials + 1)]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "hpo", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seconds = {
        name: _wait_for(sweep, f'"event": "{event}", "trial": {trials},', process, started)
        for name, event in (("seconds", "suggested"), ("seconds_to_an_epoch", "epoch"))
    }
    process.wait()
    return {**seconds, "trials": trials}


def tpe_against_random(
    folder: Path, trials: int = 40, epochs: int = 15, repeats: int = 5
) -> dict[str, Any]:
    """Compare TPE with ASHA and random search: trials and epochs until near the best error.

    Both search the same space without its predefined first points. A search that does not get there
    counts with all its trials, so the ratios are only bounds then.
    """
    build_synthetic(folder / "data" / "traffic", seed=0)
    pairs = [_race(folder, trials, epochs, seed) for seed in range(repeats)]
    ratios: dict[str, Any] = {}
    for unit in ("trials", "epochs"):
        values = [drawn[unit] / learned[unit] for learned, drawn in pairs]
        ratios[f"{unit}_ratio"] = statistics.median(values)
        ratios[f"{unit}_ratios"] = values
    arrived = {
        f"{name}_arrived": sum(pair[at]["arrived"] for pair in pairs)
        for at, name in enumerate(("tpe_asha", "random"))
    }
    return {**ratios, **arrived, "repeats": repeats}


def _race(
    folder: Path, trials: int, epochs: int, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    space = replace(built_in_search_space("none", "paper"), first_points=())
    found = []
    for sampler, scheduler in (("tpe", "asha"), ("random", "none")):
        config = _config(
            "none",
            "traffic",
            name=f"{sampler}-{seed}",
            trials=trials,
            epochs=epochs,
            sampler=sampler,
            scheduler=scheduler,
            seed=seed,
        )
        records = run_sweep(config, _places(folder), space)
        found.append(_by_end(folder, config, records))
    best = min(_error(record) for records in found for record in records)
    learned, drawn = (_arrival(records, NEAR * best) for records in found)
    return learned, drawn


def _arrival(records: list[TrialRecord], goal: float) -> dict[str, float]:
    """Return the trials and epochs until the first error at or below ``goal``."""
    errors = [_error(record) for record in records]
    arrived = any(error <= goal for error in errors)
    trials = next((at for at, error in enumerate(errors, 1) if error <= goal), len(records))
    epochs = sum(record.epochs for record in records[:trials])
    return {"trials": trials, "epochs": epochs, "arrived": float(arrived)}


def _error(record: TrialRecord) -> float:
    return record.metrics["val_mae"] if record.status == "finished" else float("inf")


def _by_end(folder: Path, config: SweepConfig, records: list[TrialRecord]) -> list[TrialRecord]:
    """Return the records in the order in which their trials ended."""
    events = read_events(SweepFolder(_places(folder).storage / config.name).ledger_file)
    order = [event["trial"] for event in events if event["event"] == "ended"]
    return sorted(records, key=lambda record: order.index(record.trial))


def _ended_sweep(places: Places, trials: int, epochs: int) -> SweepFolder:
    """Write a sweep whose trials have all ended, as random search would leave it."""
    config = _config("none", "small", trials=trials, epochs=epochs, sampler="tpe")
    plan, data = plan_sweep(config, places)
    folder = SweepFolder(places.storage.resolve() / config.name)
    folder.write_plan(plan)
    recorder, chance = Recorder(SweepRun(folder, plan, data)), random.Random(0)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    with folder.ledger_file.open("w") as stream:
        for number in range(trials):
            settings = dict(study.ask(plan.space.distributions()).params)
            errors = {f"val_mae{at}": 3 + chance.random() for at in ("", "_15", "_30", "_45")}
            trial = Trial(number, settings, number, now())
            facts = {"metrics": errors, "epoch": epochs, "best_epoch": epochs, "seconds": 1.0}
            recorder.write(trial, "finished", None, facts)
            begun: Event = {"event": "suggested", "settings": settings, "seed": number}
            reports: list[Event] = [
                {"event": "epoch", "epoch": at + 1, "metrics": errors} for at in range(epochs)
            ]
            end: Event = {"event": "ended", "status": "finished", "reason": None, "metrics": errors}
            for event in (begun, *reports, end):
                stream.write(json.dumps({**event, "trial": number, "time": now()}) + "\n")
    return folder


def _wait_for(
    sweep: SweepFolder, text: str, process: subprocess.Popen[bytes], started: float
) -> float:
    while process.poll() is None and text not in sweep.ledger_file.read_text()[-4000:]:
        time.sleep(0.02)
    return time.perf_counter() - started


def _places(folder: Path) -> Places:
    return Places(folder / "data", folder / "runs")


def _config(method: str, dataset: str, name: str = "measured", **settings: Any) -> SweepConfig:
    # The figures in docs/RESULTS.md were measured with students of the paper.
    return SweepConfig(name, method, dataset, max_concurrent=WORKERS, form="paper", **settings)
