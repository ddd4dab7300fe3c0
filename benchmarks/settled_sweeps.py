"""Measure what ``--stop-when-settled`` saves and loses, against the same sweep with all its trials.

A sweep ends when it has settled; then it goes on to the full number, so both share their trials up
to there. Needs no readings: the traffic is synthetic. Asserts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.datasets.synthetic import build_synthetic
from hpo.planning.places import Places
from hpo.records.ledger import read_ledger
from hpo.records.ranking import ranked_records
from hpo.records.sweep_folder import SweepFolder
from hpo.sweep import resume_sweep, run_sweep
from hpo.sweep_config import SweepConfig


def settling(
    folder: Path, seeds: Sequence[int] = (0, 1, 2), trials: int = 60, epochs: int = 3
) -> dict[str, Any]:
    """Return, per seed, the trials that a settled sweep saved and by how much its best was worse.

    ``begun`` are the trials that it took instead. ``lost`` is the best single trial's validation
    MAE after settling less that of all trials, and ``spread`` what another seed changes, as the
    sweep measured it. A sweep that never settles saves nothing.
    """
    build_synthetic(folder / "data" / "small", seed=1, num_sensors=12, split=(6, 2, 2))
    places = Places(folder / "data", folder / "runs")
    found = [_compared(places, seed, trials, epochs) for seed in seeds]
    return {
        "trials": trials,
        "begun": [one["begun"] for one in found],
        "lost": [one["lost"] for one in found],
        "bound": [one["bound"] for one in found if "bound" in one],
        "spread": [one["spread"] for one in found if "spread" in one],
    }


def _compared(places: Places, seed: int, trials: int, epochs: int) -> dict[str, Any]:
    config = SweepConfig(
        f"seed-{seed}",
        "none",
        "small",
        trials=trials,
        epochs=epochs,
        seed=seed,
        stop_when_settled=True,
    )
    early = run_sweep(config, places)
    settled = read_ledger(SweepFolder(places.storage.resolve() / config.name).ledger_file).settled
    if settled is None:
        return {"begun": trials, "lost": 0.0}
    every = resume_sweep(config.name, places, trials=trials) if settled.trials < trials else early
    best = [ranked_records(records, config.metric)[0] for records in (early, every)]
    return {
        "begun": settled.trials,
        "lost": best[0].metrics[config.metric] - best[1].metrics[config.metric],
        "bound": settled.bound,
        "spread": settled.spread,
    }
