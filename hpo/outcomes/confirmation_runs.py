"""Confirm a sweep's best configurations: train each again on fresh seeds and compare the means.

A run is an ordinary trial: Ray runs the same worker function, and the runs' ledger, records and
students lie in STORAGE/NAME/confirmation. A confirmation that was killed goes on when it is asked
for again. In a race, those that are shown to be worse than the best get no further seeds
(``hpo.outcomes.racing``); the confirmation's ledger says which, when and why. Does not read
the results; ``hpo.records.confirmation`` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from core.errors import StorageError
from core.files import writable_folder
from hpo.driver.drive import drive
from hpo.driver.observers import SweepObserver
from hpo.driver.sweep_run import SweepRun
from hpo.outcomes.confirmation_planning import ConfirmationPlan, plan_confirmation
from hpo.outcomes.race_rounds import drop_losers, rounds
from hpo.planning.places import Places
from hpo.planning.sweep_planning import open_planned_data
from hpo.records.confirmation import Confirmed, confirmed
from hpo.records.ledger import read_ledger
from hpo.records.ranking import ranked_records
from hpo.records.sweep_folder import SweepFolder, find_sweep
from hpo.records.sweep_plan import SweepPlan
from hpo.records.trial_records import read_records


def confirm_sweep(
    name: str,
    *,
    top: int = 5,
    seeds: int = 5,
    race: bool = True,
    places: Places | None = None,
    observer: SweepObserver | None = None,
) -> list[Confirmed]:
    """Train the best configurations of a sweep again and rank them by their mean.

    Args:
        name: of the sweep.
        top: how many configurations.
        seeds: on how many fresh seeds each.
        race: whether those that are shown to be worse than the best get no further seeds.
        places: where results lie; None: ``runs`` below the current folder.
        observer: notified of everything that happens.

    Raises:
        UserError: before anything is trained.
        SweepInterruptedError: stopped by the user; what ended is kept.
    """
    places = places or Places()
    folder = find_sweep(places.storage.resolve(), name)
    wanted = plan_confirmation(folder, seeds, top=top, race=race)
    run_confirmation(wanted, places.address, observer)
    return ranked_confirmations(folder)


def run_confirmation(
    wanted: ConfirmationPlan, address: str = "local", observer: SweepObserver | None = None
) -> None:
    """Run what is missing; errors are those of ``begun_confirmation``."""
    observer = observer or SweepObserver()
    for part in rounds(wanted):
        with begun_confirmation(part.plan, address, observer, math.inf) as run:
            drive(run)
            if part.look is not None:
                drop_losers(part.plan, part.look)


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
        stop_when_settled=False,
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
