"""Run a sweep, or go on with one after any stop.

A sweep's settings in; trial records, students and a ledger below the storage out. A sweep that
resumes is a sweep that starts with its ledger read: both entrances end in ``hpo.driver.drive``.
Shows nothing: whoever calls passes an observer.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

from core.devices import choose_device
from core.files import writable_folder
from core.preprocessing.prepare import PreparedData
from core.training.teachers import Teacher, TeacherConfig
from hpo.driver.drive import drive
from hpo.driver.observers import SilentObserver, SweepInterruptedError, SweepObserver
from hpo.driver.ray_cluster import cluster, termination_as_interrupt, trial_resources
from hpo.planning.extending import extend
from hpo.planning.networks import PRUNING_BASE, Networks, find_networks, needs_teacher
from hpo.planning.places import Places
from hpo.planning.sweep_planning import check_is_new, make_plan, open_planned_data, plan_sweep
from hpo.records.ledger import read_ledger
from hpo.records.storage_faults import storage_faults_told
from hpo.records.sweep_folder import SweepFolder, find_sweep
from hpo.records.sweep_plan import SweepPlan, extended_plan
from hpo.records.teacher_sync import publish_teacher, train_stored_teacher
from hpo.records.trial_records import TrialRecord
from hpo.space.search_space import SearchSpace
from hpo.sweep_config import SweepConfig

__all__ = [
    "SilentObserver",
    "SweepInterruptedError",
    "SweepObserver",
    "resume_sweep",
    "run_sweep",
]


def run_sweep(
    config: SweepConfig,
    places: Places | None = None,
    space: SearchSpace | None = None,
    observer: SweepObserver | None = None,
    time_budget: float = math.inf,
) -> list[TrialRecord]:
    """Search from the beginning and return the records of all trials.

    Args:
        config: the sweep's settings.
        places: where data and results lie; None: ``data`` and ``runs`` below the current folder.
        space: None takes the project's own space of the method.
        observer: told of everything that happens.
        time_budget: seconds; then the sweep ends, to be gone on with by ``resume_sweep``.

    Raises:
        UserError: before anything is trained.
        SweepInterruptedError: stopped by the user; what ended is kept.
    """
    places, observer = places or Places(), observer or SilentObserver()
    deadline = time.monotonic() + time_budget
    plan, data = plan_sweep(config, places, space)
    folder = SweepFolder(writable_folder(places.storage).resolve() / config.name)
    with (
        termination_as_interrupt(),
        storage_faults_told(folder),
        cluster(places.address) as available,
    ):
        trial_resources(config, available)
        return _begin(folder, plan, data, places, observer, deadline)


def _begin(
    folder: SweepFolder,
    plan: SweepPlan,
    data: PreparedData,
    places: Places,
    observer: SweepObserver,
    deadline: float,
) -> list[TrialRecord]:
    """Take the sweep's name, train the teacher it lacks, fix the plan and run it."""
    config = plan.config
    with folder.driver_lock():
        check_is_new(folder)  # again: another process may have taken the name since
        networks = _train_missing(config, folder.storage, data, observer)
        plan = make_plan(config, plan.space, places, data, networks)
        folder.write_plan(plan)
        return drive(folder, plan, data, places.address, observer, deadline=deadline)


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
        places: where data and results lie; None: ``data`` and ``runs`` below the current folder.
        observer: told of everything that happens.
        trials: how many there are to be in all, also of a sweep that had ended; None: as before.
        time_budget: seconds; then the sweep ends, to be gone on with again.

    Raises:
        UserError: there is no such sweep, another process drives it, its data changed, or it has
            more than ``trials`` already.
        SweepInterruptedError: stopped by the user again.
    """
    places, deadline = places or Places(), time.monotonic() + time_budget
    folder = find_sweep(places.storage.resolve(), name)
    writable_folder(folder.path)
    with termination_as_interrupt(), storage_faults_told(folder), folder.driver_lock():
        began, state = folder.read_plan(), read_ledger(folder.ledger_file)
        data = open_planned_data(began)
        if trials is not None:
            state = extend(folder, trials, state)
        plan = extended_plan(began, state)
        watching = observer or SilentObserver()
        return drive(folder, plan, data, places.address, watching, deadline=deadline)


def _train_missing(
    config: SweepConfig, storage: Path, data: PreparedData, observer: SweepObserver
) -> Networks:
    """Train the teacher and the pruning base that the sweep needs and that are not there."""

    def train(missing: TeacherConfig) -> Teacher:
        on_epoch, on_step = observer.on_teacher_epoch, observer.on_teacher_step
        return train_stored_teacher(data.to(choose_device()), missing, storage, on_epoch, on_step)

    if needs_teacher(config) and find_networks(config, storage, data).teacher is None:
        train(TeacherConfig())
    if config.base_name == "table1":
        train(PRUNING_BASE)
    found = find_networks(config, storage, data)
    for network in (found.teacher, found.base):
        if network is not None:
            publish_teacher(network)
    return found
