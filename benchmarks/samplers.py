"""Compare the samplers at small budgets, on a made-up error that costs nothing to compute.

The search space, the parameter limit and the searcher are the project's; only the training is
replaced: by an error with the slopes that docs/RESULTS.md reports (size, numbers per sensor,
learning rate, batch size, kind of error), weights of a loss that matter little, and the noise of
a seed. What is compared is the error without that noise. Says nothing of real students.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.datasets.synthetic import build_synthetic
from core.preprocessing.prepare import PreparedData, prepare
from hpo.records.ledger import Ledger
from hpo.records.seed_differences import mean_interval
from hpo.search.ledger_searcher import LedgerSearcher
from hpo.search.samplers import SAMPLERS
from hpo.space.objectives import hypervolume
from hpo.space.search_space import SearchSpace, built_in_search_space
from hpo.sweep_config import SweepConfig
from hpo.trials.student_costs import StudentCosts
from hpo.trials.trial_settings import StudentSizes

LIMIT = 4000
"""Parameters; a student of the widest settings has six times as many."""
LARGEST = 30_000
NOISE = 0.015
"""Standard deviation over seeds."""
SPACE = SearchSpace("stcd", built_in_search_space("stcd").parameters, ())
"""Without first points: they would hide what a sampler does by itself."""


def one_objective(
    folder: Path, trials: int, limited: bool = False, repeats: int = 10
) -> dict[str, Any]:
    """Return each sampler's lowest error, less that of TPE, and a 95 % interval over repeats."""
    data, limit = _data(folder), {"max_parameters": LIMIT} if limited else {}
    able = [name for name, kind in SAMPLERS.items() if kind.constraints or not limited]
    lowest = functools.partial(_lowest, limit=limit)
    found = {name: _repeats(lowest, folder, data, name, trials, repeats) for name in able}
    return {"tpe": statistics.fmean(found["tpe"]), **_against_tpe(found)}


def two_objectives(folder: Path, trials: int, repeats: int = 10) -> dict[str, Any]:
    """Return each sampler's hypervolume of error and parameters, less that of TPE."""
    data = _data(folder)
    able = [name for name, kind in SAMPLERS.items() if kind.several_objectives]
    found = {name: _repeats(_volume, folder, data, name, trials, repeats) for name in able}
    return {"tpe": statistics.fmean(found["tpe"]), **_against_tpe(found)}


def error_of(settings: Mapping[str, Any], parameters: int) -> float:
    """Return the made-up validation MAE of a student, without the noise of a seed."""
    weights = sum((settings[f"alpha{index}"] - 0.25) ** 2 for index in (1, 2, 3))
    balance = math.log(settings["block1_out"] / settings["block2_hidden"] / 2) ** 2
    error: float = (
        2.7
        + 0.3 * math.log10(LARGEST / parameters)
        + 0.1 / settings["sensor_rank"]
        + 0.4 * math.log10(settings["learning_rate"] / 8e-3) ** 2
        + 0.02 * balance
        + 0.03 * weights
        + {"mae": 0.0, "mse": 0.04}[settings["error"]]
        + {16: 0.03, 25: 0.0, 32: 0.01, 50: 0.03}[settings["batch_size"]]
    )
    return error


def _data(folder: Path) -> PreparedData:
    return prepare(build_synthetic(folder / "data" / "small", num_sensors=12, split=(2, 1, 1)))


def _repeats(
    measure: Callable[[Path, PreparedData, str, int, int], float],
    folder: Path,
    data: PreparedData,
    name: str,
    trials: int,
    count: int,
) -> list[float]:
    return [measure(folder / f"{name}-{seed}", data, name, trials, seed) for seed in range(count)]


def _lowest(
    folder: Path,
    data: PreparedData,
    sampler: str,
    trials: int,
    seed: int,
    limit: Mapping[str, int],
) -> float:
    """Return the true error of the trial that looked best."""
    points = _search(folder, data, sampler, trials, seed, "val_mae", limit)
    return min(points, key=lambda point: point[2])[0]


def _volume(folder: Path, data: PreparedData, sampler: str, trials: int, seed: int) -> float:
    points = _search(folder, data, sampler, trials, seed, "val_mae,parameters", {})
    return hypervolume([point[:2] for point in points], (3.6, float(LARGEST)))


def _search(
    folder: Path,
    data: PreparedData,
    sampler: str,
    trials: int,
    seed: int,
    objective: str,
    limit: Mapping[str, int],
) -> list[tuple[float, float, float]]:
    """Run a search; return each student's error, its parameters, and the error that was seen."""
    folder.mkdir()
    fields: dict[str, Any] = {"objective": objective, "sampler": sampler, "seed": seed, **limit}
    config = SweepConfig("made-up", "stcd", "small", trials=trials, epochs=1, **fields)
    sizes, ledger = StudentSizes(config, data, None), Ledger(folder / "ledger.jsonl")
    costs = StudentCosts(sizes, ledger)
    searcher = LedgerSearcher(config, SPACE, ledger, "", 1, lambda *_: None, costs)
    noise, points = np.random.default_rng(seed), []
    while isinstance(asked := searcher.suggest("ray"), dict):
        parameters = sizes.shape(asked["settings"]).parameters
        error = error_of(asked["settings"], parameters)
        seen = error + NOISE * float(noise.standard_normal())
        points.append((error, float(parameters), seen))
        ended = {"trial": asked["trial"], "ended": True, "status": "finished", "epoch": 1}
        searcher.on_trial_complete("ray", {**ended, "val_mae": seen})
    ledger.close()
    return points


def _against_tpe(found: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Return mean and interval of the paired differences to TPE, by sampler."""
    told = {}
    for name in found.keys() - {"tpe"}:
        differences = [one - other for one, other in zip(found[name], found["tpe"], strict=True)]
        low, high = mean_interval(differences) or (math.nan, math.nan)
        told[name] = [statistics.fmean(differences), low, high]
    return dict(sorted(told.items()))
