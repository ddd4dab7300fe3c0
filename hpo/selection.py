"""Select the best configurations of a dataset from the records of all sweeps.

Ranks by validation errors only. A dataset's name may have meant different data over time; records
of different data are never compared: only those of the data searched last count. Runs and writes
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.distillation.losses import LOSSES
from core.errors import ConfigError, UnknownNameError
from hpo.records.confirmation import Confirmed, confirmed
from hpo.records.ranking import ranked_records
from hpo.records.sweep_folder import SweepFolder, all_sweeps
from hpo.records.trial_records import TrialRecord, read_records
from hpo.space.objectives import OBJECTIVES, pareto_front
from hpo.space.parameters import PRUNE


def best(
    dataset: str,
    storage: Path,
    *,
    method: str | None = None,
    max_parameters: int | None = None,
    top: int = 10,
    metric: str = "val_mae",
    pareto: bool = False,
) -> list[dict[str, Any]]:
    """Return the best finished trials over all sweeps of a dataset, the best first.

    Args:
        dataset: its name.
        storage: folder of the sweeps.
        method: only trials of this method.
        max_parameters: only students of at most so many parameters.
        top: how many at most.
        metric: to rank by, one of ``OBJECTIVES``; lower is better.
        pareto: only trials that no other beats in both ``metric`` and parameters.

    Returns:
        Per trial ``rank sweep trial dataset method config metrics parameters flops confirmed``, and
        ``latency_ms`` where its sweep asked for it; ``config`` holds the searched settings,
        ``epochs`` and ``seed``. ``confirmed`` is None, or the configuration's result on fresh seeds
        (``Confirmed.summary``). Empty if no trial matches.

    Raises:
        UnknownNameError: no record of the dataset, or no such metric or method.
        ConfigError: ``top`` or ``max_parameters`` is below 1.
    """
    _check(method, max_parameters, top, metric)
    ranked = ranked_records(records_of(dataset, storage), metric)
    if method is not None:
        ranked = [record for record in ranked if record.method == method]
    if max_parameters is not None:
        ranked = [record for record in ranked if record.parameters <= max_parameters]
    if pareto:
        points = [(record.metrics[metric], float(record.parameters)) for record in ranked]
        ranked = [ranked[index] for index in pareto_front(points)]
    shown = ranked[:top]
    known = _confirmations(storage, shown, metric)
    return [_row(rank, one, known[one.sweep]) for rank, one in enumerate(shown, start=1)]


def records_of(dataset: str, storage: Path) -> list[TrialRecord]:
    """Return the records of a dataset as it was when it was last searched.

    Raises:
        UnknownNameError: there are none.
    """
    # A folder may have been renamed or copied: the sweep is called as it can be found.
    everything = [
        replace(record, sweep=sweep.name)
        for sweep in all_sweeps(storage)
        for record in read_records(sweep.results)
    ]
    named = [record for record in everything if record.dataset == dataset]
    if not named:
        known = {record.dataset for record in everything}
        raise UnknownNameError("dataset with finished trials", dataset, known)
    newest = max(named, key=lambda record: record.ended).dataset_fingerprint
    return [record for record in named if record.dataset_fingerprint == newest]


def _check(method: str | None, max_parameters: int | None, top: int, metric: str) -> None:
    if method is not None and method not in {*LOSSES, PRUNE}:
        raise UnknownNameError("method", method, [*LOSSES, PRUNE])
    if metric not in OBJECTIVES:
        raise UnknownNameError("metric", metric, OBJECTIVES)
    for option, value in (("--top", top), ("--max-parameters", max_parameters)):
        if value is not None and value < 1:
            raise ConfigError(f"{option} must be at least 1, got {value}")


def _confirmations(
    storage: Path, records: Sequence[TrialRecord], metric: str
) -> dict[str, list[Confirmed]]:
    """Return the confirmed configurations among those of ``records``, by sweep."""
    known = {}
    for name in {record.sweep for record in records}:
        own = [record for record in records if record.sweep == name]
        known[name] = confirmed(SweepFolder(storage / name), own, metric)
    return known


def _row(rank: int, record: TrialRecord, known: list[Confirmed]) -> dict[str, Any]:
    summaries = [one.summary() for one in known if one.trial.settings == record.settings]
    return {
        "rank": rank,
        "sweep": record.sweep,
        "trial": record.trial,
        "dataset": record.dataset,
        "method": record.method,
        "config": record.configuration,
        "metrics": record.metrics,
        "parameters": record.parameters,
        "flops": record.flops,
        **({} if record.latency_ms is None else {"latency_ms": record.latency_ms}),
        "confirmed": summaries[0] if summaries else None,
    }
