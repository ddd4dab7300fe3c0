"""Select the best configurations of a dataset from the records of all sweeps.

Ranks by validation errors only: by the mean over fresh seeds where a configuration is confirmed,
and single trials after those. A dataset's name may have meant different data over time; records
of different data are never compared: only those of the data searched last count. Runs and writes
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import ConfigError, StorageError, UnknownNameError
from core.files import log_left_out
from hpo.records.confirmation import Confirmed, confirmed
from hpo.records.ranked_trials import Judged, RankedTrial, expected_luck, fronts, judge
from hpo.records.ranking import ranked_records
from hpo.records.sweep_folder import SweepFolder, all_sweeps
from hpo.records.trial_records import TrialRecord, read_records
from hpo.space.objectives import OBJECTIVES
from hpo.space.search_space import check_method


@dataclass(frozen=True)
class Ranking:
    """The best configurations of a dataset, and how far single trials can be trusted."""

    trials: list[RankedTrial]
    """The best first: confirmed ones, then single trials."""
    finished: int
    """How many trials they are the best of."""
    luck: float | None
    """By how much the best single trial is expected to be lucky; None: nothing is confirmed."""


def best(
    dataset: str,
    storage: Path,
    *,
    method: str | None = None,
    max_parameters: int | None = None,
    top: int = 10,
    metric: str = "val_mae",
    pareto: bool = False,
) -> list[RankedTrial]:
    """Return the best configurations over all sweeps of a dataset, the best first.

    Args:
        dataset: its name.
        storage: folder of the sweeps.
        method: only trials of this method.
        max_parameters: only students of at most so many parameters.
        top: how many at most.
        metric: to rank by, one of ``OBJECTIVES``; lower is better.
        pareto: only those that no other, of the confirmed or of the single trials, beats in both
            ``metric`` and parameters.

    Returns:
        Records of their trials, as ``run_sweep`` returns them, with rank and confirmation; empty
        if none fits.

    Raises:
        UnknownNameError: no record of the dataset, or no such metric or method.
        ConfigError: ``top`` or ``max_parameters`` is below 1.
    """
    return rank(
        dataset,
        storage,
        method=method,
        max_parameters=max_parameters,
        top=top,
        metric=metric,
        pareto=pareto,
    ).trials


def rank(
    dataset: str,
    storage: Path,
    *,
    method: str | None = None,
    max_parameters: int | None = None,
    top: int = 10,
    metric: str = "val_mae",
    pareto: bool = False,
) -> Ranking:
    """Return what ``best`` returns, and how lucky the best single trial is expected to be.

    Args and errors are those of ``best``.
    """
    _check(method, max_parameters, top, metric)
    everything = ranked_records(records_of(dataset, storage), metric)
    known = _confirmations(storage, everything, metric)
    luck = expected_luck(one for every in known.values() for one in every)
    fitting = [
        record
        for record in everything
        if method in (None, record.method)
        and (max_parameters is None or record.parameters <= max_parameters)
    ]
    judged = [one for one in judge(everything, known, metric) if one.trial in fitting]
    shown = (fronts(judged) if pareto else judged)[:top]
    return Ranking(_rows(storage, shown, metric), len(fitting), luck)


def records_of(dataset: str, storage: Path) -> list[TrialRecord]:
    """Return the records of a dataset as it was when it was last searched.

    Raises:
        UnknownNameError: there are none.
    """
    everything = all_records(storage)
    named = [record for record in everything if record.dataset == dataset]
    if not named:
        known = {record.dataset for record in everything}
        raise UnknownNameError("dataset with finished trials", dataset, known)
    newest = max(named, key=lambda record: record.ended).dataset_fingerprint
    return [record for record in named if record.dataset_fingerprint == newest]


def all_records(storage: Path) -> list[TrialRecord]:
    """Return the records of all sweeps, each called as its folder can be found."""
    return [
        replace(record, sweep=sweep.name)  # a folder may have been renamed or copied
        for sweep in all_sweeps(storage)
        for record in read_records(sweep.results)
    ]


def _check(method: str | None, max_parameters: int | None, top: int, metric: str) -> None:
    if method is not None:
        check_method(method)
    if metric not in OBJECTIVES:
        raise UnknownNameError("metric", metric, OBJECTIVES)
    for option, value in (("--top", top), ("--max-parameters", max_parameters)):
        if value is not None and value < 1:
            raise ConfigError(f"{option} must be at least 1, got {value}")


def _confirmations(
    storage: Path, ranked: Sequence[TrialRecord], metric: str
) -> dict[str, list[Confirmed]]:
    """Return the confirmed configurations of the sweeps of ``ranked``, by sweep."""
    known = {}
    for name in {record.sweep for record in ranked}:
        own = [record for record in ranked if record.sweep == name]
        known[name] = confirmed(SweepFolder(storage / name), own, metric)
    return known


def _rows(storage: Path, judged: Sequence[Judged], metric: str) -> list[RankedTrial]:
    repeated = {name: _repeat_last(storage, name) for name in {one.trial.sweep for one in judged}}
    return [
        RankedTrial(
            **vars(one.trial),
            rank=rank,
            confirmed=one.confirmed,
            metric=metric,
            repeat_last=repeated[one.trial.sweep],
        )
        for rank, one in enumerate(judged, start=1)
    ]


def _repeat_last(storage: Path, name: str) -> dict[str, float] | None:
    try:
        return SweepFolder(storage / name).read_outline().baselines.get("repeat_last")
    except StorageError as error:
        log_left_out(f"the plan of sweep {name!r}", error)
        return None
