"""Confirm a sweep's best configurations: train each again on fresh seeds and compare the means.

A run is an ordinary trial: Ray runs the same worker function, and the runs' ledger, records and
students lie in STORAGE/NAME/confirmation. A confirmation that was killed goes on when it is asked
for again. Does not read the results; ``hpo.records.confirmation`` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from core.errors import ConfigError, StorageError
from core.files import log_left_out, writable_folder
from core.seeding import derived_seed
from hpo.driver.drive import drive
from hpo.driver.observers import SweepObserver
from hpo.driver.sweep_run import SweepRun
from hpo.planning.places import Places
from hpo.planning.sweep_planning import open_planned_data
from hpo.records.confirmation import Confirmed, confirmed
from hpo.records.ledger import SweepState, read_ledger
from hpo.records.ranking import configurations, no_student, ranked_records
from hpo.records.sweep_folder import SweepFolder, find_sweep
from hpo.records.sweep_plan import SweepPlan
from hpo.records.trial_records import TrialRecord, read_records
from hpo.search.fixed_runs import FixedRun
from hpo.selection import records_of

FEWEST_SEEDS = 2
"""A single one gives no spread."""
CANDIDATES = 3
"""Configurations that are confirmed, at least, before one is exported."""


@dataclass(frozen=True)
class ConfirmationPlan:
    """What a confirmation still has to run."""

    folder: SweepFolder
    """The sweep."""
    candidates: tuple[TrialRecord, ...]
    runs: tuple[FixedRun, ...]
    """Those that have not begun."""
    trials: int
    """Number of runs in all, with those begun."""
    seconds: float
    """Of training, estimated from the candidates' own trials."""


def plan_confirmation(
    folder: SweepFolder, seeds: int, *, top: int = 1, trials: Sequence[int] | None = None
) -> ConfirmationPlan:
    """Choose the configurations and the runs that are missing.

    Args:
        folder: the sweep.
        seeds: runs per configuration.
        top: of how many of the best configurations.
        trials: instead of the best: the configurations of these trials.

    Raises:
        ConfigError: too few seeds or configurations, or nothing has finished.
    """
    if seeds < FEWEST_SEEDS or top < 1:
        raise ConfigError(
            f"a confirmation needs --top of at least 1 and --seeds of at least {FEWEST_SEEDS}, got "
            f"{top} and {seeds}"
        )
    plan = folder.read_plan()
    records = read_records(folder.results)
    ranked = ranked_records(records, plan.config.metric)
    wanted = ranked if trials is None else [one for one in ranked if one.trial in trials]
    candidates = configurations(wanted)[: top if trials is None else None]
    if not candidates:
        see = f"hpo status {folder.name}"
        raise ConfigError(no_student(f"sweep {folder.name!r}", records, see))
    return _missing(folder, plan, candidates, seeds)


def _missing(
    folder: SweepFolder, plan: SweepPlan, candidates: list[TrialRecord], seeds: int
) -> ConfirmationPlan:
    state = read_ledger(folder.confirmation.ledger_file)
    begun = [(trial.settings, trial.seed) for trial in state.trials.values()]
    # Seed by seed: stopped early, every candidate has been tried about as often.
    missing = [
        (candidate, FixedRun(candidate.settings, fresh_seed(plan, index)))
        for index in range(seeds)
        for candidate in candidates
        if (candidate.settings, fresh_seed(plan, index)) not in begun
    ]
    return ConfirmationPlan(
        folder,
        tuple(candidates),
        tuple(run for _, run in missing),
        len(begun) + len(missing),
        sum(one.seconds for one, _ in missing) + _unfinished_seconds(candidates, state),
    )


def fresh_seed(plan: SweepPlan, index: int) -> int:
    """Return the ``index``-th confirmation seed: new to the sweep, shared by all configurations."""
    return derived_seed(plan.config.seed, "confirmation", index) % 2**31


def _unfinished_seconds(candidates: Sequence[TrialRecord], state: SweepState) -> float:
    average = sum(one.seconds for one in candidates) / len(candidates)
    return average * len(state.with_status("running"))


def confirm_sweep(
    name: str,
    *,
    top: int = 5,
    seeds: int = 5,
    places: Places | None = None,
    observer: SweepObserver | None = None,
) -> list[Confirmed]:
    """Train the best configurations of a sweep again and rank them by their mean.

    Args:
        name: of the sweep.
        top: how many configurations.
        seeds: on how many fresh seeds each.
        places: where results lie; None: ``runs`` below the current folder.
        observer: notified of everything that happens.

    Raises:
        UserError: before anything is trained.
        SweepInterruptedError: stopped by the user; what ended is kept.
    """
    places = places or Places()
    folder = find_sweep(places.storage.resolve(), name)
    wanted = plan_confirmation(folder, seeds, top=top)
    run_confirmation(wanted, places.address, observer)
    return ranked_confirmations(folder)


def run_confirmation(
    wanted: ConfirmationPlan, address: str = "local", observer: SweepObserver | None = None
) -> None:
    """Run what is missing; errors are those of ``begun_confirmation``."""
    with begun_confirmation(wanted, address, observer or SweepObserver(), math.inf) as run:
        drive(run)


@contextmanager
def begun_confirmation(
    wanted: ConfirmationPlan, address: str, observer: SweepObserver, deadline: float
) -> Iterator[SweepRun]:
    """Hold the right to run what is missing while the block runs.

    Args:
        wanted: the runs.
        address: of a Ray cluster.
        observer: notified of everything that happens.
        deadline: of ``time.monotonic``; runs that are unfinished then go on when asked for again.

    Raises:
        StorageError: another process drives the sweep, or has begun to confirm it.
    """
    folder = wanted.folder
    if folder.is_driven():
        raise StorageError(
            f"a sweep must be at rest to be confirmed, but a process drives {folder.name!r}; "
            "wait for it, or end it"
        )
    plan = folder.read_plan()
    data = open_planned_data(plan)
    writable_folder(folder.confirmation.path)
    with folder.confirmation.driver_lock():
        begun = len(read_ledger(folder.confirmation.ledger_file).trials)
        if begun + len(wanted.runs) != wanted.trials:
            raise StorageError(
                f"another process has begun to confirm {folder.name!r} meanwhile; ask again"
            )
        yield SweepRun(
            folder.confirmation,
            _plan_of_runs(wanted, plan),
            data,
            address,
            observer,
            deadline,
            runs=wanted.runs,
        )


def _plan_of_runs(wanted: ConfirmationPlan, plan: SweepPlan) -> SweepPlan:
    """Return the sweep's plan for runs that nothing suggests and nothing stops early."""
    config = replace(
        plan.config,
        trials=wanted.trials,
        sampler="random",
        scheduler="none",
        objective=plan.config.metric,
        max_latency_ms=None,
        keep_checkpoints=None,
        gpus_per_trial=_gpus(wanted.folder, plan),
    )
    return replace(plan, config=config)


def _gpus(folder: SweepFolder, plan: SweepPlan) -> float | Literal["auto"] | None:
    """Return the GPUs of a run, which its sweep may have measured."""
    share = read_ledger(folder.ledger_file).gpu_share
    return plan.config.gpus_per_trial if share is None else share["gpus_per_trial"]


def ranked_confirmations(folder: SweepFolder) -> list[Confirmed]:
    """Return the confirmed configurations of a sweep by its own metric, the best first."""
    metric = folder.read_plan().config.metric
    return confirmed(folder, ranked_records(read_records(folder.results), metric), metric)


def missing_before_export(folder: SweepFolder, top: int, seeds: int) -> list[ConfirmationPlan]:
    """Return the confirmations needed before the best of a sweep is exported as confirmed.

    None if its ``top`` best configurations are confirmed. Otherwise at least ``CANDIDATES`` are
    confirmed, so that a configuration that was merely lucky can lose its place.
    """
    metric = folder.read_plan().config.metric
    first = configurations(ranked_records(read_records(folder.results), metric))[:top]
    if first and is_confirmed(folder, [record.trial for record in first]):
        return []
    return [plan_confirmation(folder, seeds, top=max(top, CANDIDATES))]


def missing_in_dataset(dataset: str, storage: Path, top: int, seeds: int) -> list[ConfirmationPlan]:
    """Return the same for every sweep that holds one of a dataset's best trials."""
    candidates: dict[str, list[int]] = {}
    # By their own errors: a trial that beats all confirmed ones is to be confirmed too.
    for record in ranked_records(records_of(dataset, storage), "val_mae")[: max(top, CANDIDATES)]:
        candidates.setdefault(record.sweep, []).append(record.trial)
    missing = []
    for name, trials in candidates.items():
        folder = find_sweep(storage, name)
        try:
            if not is_confirmed(folder, trials):
                missing.append(plan_confirmation(folder, seeds, trials=trials))
        except StorageError as error:
            log_left_out(f"sweep {name!r}", error)
    return missing


def is_confirmed(folder: SweepFolder, trials: Sequence[int]) -> bool:
    """Whether the configurations of ``trials`` ran on enough seeds and no run is unfinished."""
    state = read_ledger(folder.confirmation.ledger_file)
    if state.with_status("running"):
        return False
    metric, records = folder.read_plan().config.metric, read_records(folder.results)
    ranked = confirmed(folder, ranked_records(records, metric), metric)
    known = [one.trial.settings for one in ranked if _enough(one)]
    return all(record.settings in known for record in records if record.trial in trials)


def _enough(one: Confirmed) -> bool:
    return len(one.runs) >= FEWEST_SEEDS
