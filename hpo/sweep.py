"""Start a sweep, or resume one after any stop.

Writes trial records, students and a ledger below the storage. A resumed sweep is one that starts
with its ledger read: ``run_sweep`` and ``resume_sweep`` both end in ``hpo.driver.drive``. Prints
nothing; progress goes to an observer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from core.devices import choose_device
from core.files import writable_folder
from core.training.teachers import Teacher, TeacherConfig, default_teacher
from hpo.driver.drive import drive
from hpo.driver.observers import Observers, SweepInterruptedError, SweepObserver
from hpo.driver.ray_cluster import cluster, termination_as_interrupt, trial_resources
from hpo.driver.sweep_run import SweepRun
from hpo.planning.extending import extend
from hpo.planning.networks import (
    Networks,
    find_networks,
    make_named_ensemble,
    needs_teacher,
    pruning_base,
)
from hpo.planning.places import Places
from hpo.planning.sweep_planning import (
    CheckedSweep,
    check_is_new,
    check_sweep,
    make_plan,
    open_planned_data,
)
from hpo.planning.told_trials import Told
from hpo.records.ledger import read_ledger
from hpo.records.storage_faults import storage_faults_reported
from hpo.records.sweep_folder import SweepFolder, find_sweep
from hpo.records.sweep_plan import extended_plan
from hpo.records.sync.teacher_sync import publish_teacher, train_stored_teacher
from hpo.records.trial_records import TrialRecord
from hpo.space.search_space import SearchSpace
from hpo.sweep_config import SweepConfig

__all__ = [
    "Observers",
    "SweepInterruptedError",
    "SweepObserver",
    "begun_sweep",
    "resume_sweep",
    "resumed_sweep",
    "run_sweep",
]


def run_sweep(
    config: SweepConfig,
    places: Places | None = None,
    space: SearchSpace | None = None,
    observer: SweepObserver | None = None,
    time_budget: float = math.inf,
    told: Told | None = None,
) -> list[TrialRecord]:
    """Search from the beginning and return the records of all trials.

    Args:
        config: the sweep's settings.
        places: datasets, storage and cluster; None: ``data`` and ``runs`` below the current folder.
        space: None takes the project's own space of the method.
        observer: notified of everything that happens; ``Observers`` for several.
        time_budget: seconds; then the sweep stops, and ``resume_sweep`` goes on with it.
        told: what another sweep found in this space (``hpo.planning.told_trials``).

    Raises:
        UserError: before anything is trained.
        SweepInterruptedError: stopped by the user; what ended is kept.
    """
    places = places or Places()
    deadline = time.monotonic() + time_budget
    watching = observer or SweepObserver()
    with begun_sweep(config, places, space, watching, deadline, told) as run:
        return drive(run)


@contextmanager
def begun_sweep(
    config: SweepConfig,
    places: Places,
    space: SearchSpace | None,
    observer: SweepObserver,
    deadline: float,
    told: Told | None = None,
) -> Iterator[SweepRun]:
    """Begin a sweep, and hold the right to drive it while the block runs.

    Args and errors are those of ``run_sweep``; ``deadline`` is of ``time.monotonic``.
    """
    checked = check_sweep(config, places, space, told)
    folder = SweepFolder(writable_folder(places.storage).resolve() / config.name)
    with (
        termination_as_interrupt(),
        storage_faults_reported(folder),
        cluster(places.address) as available,
    ):
        trial_resources(config, available)
        with folder.driver_lock():
            yield _begin(checked, folder, observer, deadline)


def _begin(
    checked: CheckedSweep, folder: SweepFolder, observer: SweepObserver, deadline: float
) -> SweepRun:
    """Take the sweep's name, train the networks it lacks, and write its plan."""
    check_is_new(folder)  # again: another process may have taken the name since
    networks = _train_missing(checked, folder, observer)
    plan = make_plan(replace(checked, networks=networks))
    folder.write_plan(plan)
    return SweepRun(
        folder,
        plan,
        checked.data,
        checked.places.address,
        observer,
        deadline,
        latency_of=checked.latency_of,
    )


def resume_sweep(
    name: str,
    places: Places | None = None,
    observer: SweepObserver | None = None,
    *,
    trials: int | None = None,
    time_budget: float = math.inf,
) -> list[TrialRecord]:
    """Go on with a sweep after any stop; trials that ended are not run again.

    Args:
        name: of the sweep.
        places: datasets, storage and cluster; None: ``data`` and ``runs`` below the current folder.
        observer: notified of everything that happens; ``Observers`` for several.
        trials: how many there are to be in all, also of a sweep that had ended; None: as before.
        time_budget: seconds; then the sweep stops, to be resumed again.

    Raises:
        UserError: there is no such sweep, another process drives it, its data changed, or it has
            more than ``trials`` already.
        SweepInterruptedError: stopped by the user again.
    """
    places, deadline = places or Places(), time.monotonic() + time_budget
    with resumed_sweep(name, places, observer or SweepObserver(), trials, deadline) as run:
        return drive(run)


@contextmanager
def resumed_sweep(
    name: str,
    places: Places,
    observer: SweepObserver,
    trials: int | None,
    deadline: float,
) -> Iterator[SweepRun]:
    """Open a sweep that has begun, and hold the right to drive it while the block runs.

    Args and errors are those of ``resume_sweep``; ``deadline`` is of ``time.monotonic``.
    """
    folder = find_sweep(places.storage.resolve(), name)
    writable_folder(folder.path)
    with termination_as_interrupt(), storage_faults_reported(folder), folder.driver_lock():
        began, state = folder.read_plan(), read_ledger(folder.ledger_file)
        data = open_planned_data(began)
        if trials is not None:
            state = extend(folder, trials, state)
        plan = extended_plan(began, state)
        yield SweepRun(folder, plan, data, places.address, observer, deadline)


def _train_missing(checked: CheckedSweep, folder: SweepFolder, observer: SweepObserver) -> Networks:
    """Train the teacher and the pruning base that the sweep needs, unless they exist."""
    config, storage, data = checked.config, folder.storage, checked.data

    def train(what: str, missing: TeacherConfig) -> Teacher:
        on_epoch, on_step = observer.on_teacher_epoch, observer.on_teacher_step
        observer.on_network(what, missing.training.epochs)
        return train_stored_teacher(data.to(choose_device()), missing, storage, on_epoch, on_step)

    # Searched for again: another process may have trained one since the checks.
    if needs_teacher(config) and config.teachers is not None:
        here = data.to(choose_device())
        make_named_ensemble(config.teachers, config.teacher_weighting, storage, here)
    elif needs_teacher(config) and find_networks(config, storage, data).teacher is None:
        train("teacher", default_teacher(config.form))
    if config.base_name == "table1":
        train("pruning base", pruning_base(config.form, config.family))
    found = find_networks(config, storage, data)
    for network in (found.teacher, found.base):
        if network is not None:
            publish_teacher(network)
    return found
