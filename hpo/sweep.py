"""Run a sweep, or go on with one after any stop.

A sweep's settings in; trial records, students and a ledger below the storage out. A sweep that
resumes is a sweep that starts with its ledger read: both entrances end in ``_drive``. Shows
nothing: whoever calls passes an observer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from core.checkpoint import CheckpointFolder
from core.devices import choose_device
from core.distillation.losses import LOSSES
from core.experiments import open_targets, train_teacher
from core.files import writable_folder
from core.preprocessing.prepare import PreparedData
from core.teachers import Teacher, TeacherConfig, find_teacher
from core.training import EpochReport
from hpo.ledger import Ledger, SweepState
from hpo.planning import (
    PRUNING_BASE,
    Networks,
    Places,
    check_is_new,
    find_networks,
    make_plan,
    needs_teacher,
    open_planned_data,
    plan_sweep,
    target_storage,
)
from hpo.recording import Recorder
from hpo.results import TrialRecord, read_records
from hpo.search_space import SearchSpace
from hpo.storage_faults import storage_faults_told
from hpo.sweep_config import SweepConfig
from hpo.sweep_store import SweepFolder, SweepPlan, find_sweep
from hpo.tuning import cluster, trial_resources, tune_trials


class SweepInterruptedError(KeyboardInterrupt):
    """The user stopped a sweep; ``resume_sweep`` goes on with it."""


class SweepObserver(Protocol):
    """Watches a sweep; every method may do nothing."""

    def on_teacher_epoch(self, report: EpochReport) -> None:
        """Hear that an epoch of the teacher which the sweep lacked has ended."""

    def on_teacher_step(self, epoch: int, step: int, steps: int) -> None:
        """Hear that a training step of that teacher has ended."""

    def on_targets(self, done: int, windows: int) -> None:
        """Hear how many windows' targets are built of those of the training days."""

    def on_change(self, plan: SweepPlan, state: SweepState) -> None:
        """Hear that a trial began, reported or ended."""


class SilentObserver:
    """Watches and says nothing."""

    def on_teacher_epoch(self, report: EpochReport) -> None:
        """Say nothing."""

    def on_teacher_step(self, epoch: int, step: int, steps: int) -> None:
        """Say nothing."""

    def on_targets(self, done: int, windows: int) -> None:
        """Say nothing."""

    def on_change(self, plan: SweepPlan, state: SweepState) -> None:
        """Say nothing."""


def run_sweep(
    config: SweepConfig,
    places: Places | None = None,
    space: SearchSpace | None = None,
    observer: SweepObserver | None = None,
) -> list[TrialRecord]:
    """Search from the beginning and return the records of all trials.

    Args:
        config: the sweep's settings.
        places: where data and results lie; None: ``data`` and ``runs`` below the current folder.
        space: None takes the project's own space of the method.
        observer: told of everything that happens.

    Raises:
        UserError: before anything is trained.
        SweepInterruptedError: stopped by the user; what ended is kept.
    """
    places, observer = places or Places(), observer or SilentObserver()
    plan, data = plan_sweep(config, places, space)
    folder = SweepFolder(writable_folder(places.storage).resolve() / config.name)
    with storage_faults_told(folder), cluster(places.address) as available:
        trial_resources(config, available)
        return _begin(folder, plan, data, places, observer)


def _begin(
    folder: SweepFolder,
    plan: SweepPlan,
    data: PreparedData,
    places: Places,
    observer: SweepObserver,
) -> list[TrialRecord]:
    """Take the sweep's name, train the teacher it lacks, fix the plan and run it."""
    config = plan.config
    with folder.driver_lock():
        check_is_new(folder)  # again: another process may have taken the name since
        networks = _train_missing(config, folder.storage, data, observer)
        plan = make_plan(config, plan.space, places, data, networks)
        folder.write_plan(plan)
        return _drive(folder, plan, data, places.address, observer)


def resume_sweep(
    name: str, places: Places | None = None, observer: SweepObserver | None = None
) -> list[TrialRecord]:
    """Go on with a sweep after any stop; trials that ended are not run again.

    Raises:
        UserError: there is no such sweep, another process drives it, or its data changed.
        SweepInterruptedError: stopped by the user again.
    """
    places = places or Places()
    folder = find_sweep(places.storage.resolve(), name)
    writable_folder(folder.path)
    with storage_faults_told(folder), folder.driver_lock():
        plan = folder.read_plan()
        data = open_planned_data(plan)
        return _drive(folder, plan, data, places.address, observer or SilentObserver())


def _train_missing(
    config: SweepConfig, storage: Path, data: PreparedData, observer: SweepObserver
) -> Networks:
    """Train the teacher and the pruning base that the sweep needs and that are not there."""

    def train(missing: TeacherConfig) -> Teacher:
        on_epoch, on_step = observer.on_teacher_epoch, observer.on_teacher_step
        return train_teacher(data.to(choose_device()), missing, storage, on_epoch, on_step)

    if needs_teacher(config) and find_networks(config, storage, data).teacher is None:
        train(TeacherConfig())
    if config.base_name == "table1":
        train(PRUNING_BASE)
    return find_networks(config, storage, data)


def _build_targets(
    folder: SweepFolder, plan: SweepPlan, data: PreparedData, observer: SweepObserver
) -> None:
    """Build here what the trials on this machine will map, so that none of them waits for it."""
    needs = LOSSES[plan.config.loss_name].needs
    teacher = find_teacher(folder.storage, data, plan.teacher_fingerprint)
    if needs and teacher is not None:
        storage = target_storage(plan.config)
        open_targets(data.to(choose_device()), teacher, needs, storage, observer.on_targets)


def _drive(
    folder: SweepFolder,
    plan: SweepPlan,
    data: PreparedData,
    address: str,
    observer: SweepObserver,
) -> list[TrialRecord]:
    """Run what the ledger says is still to run."""
    ledger = Ledger(folder.ledger_file, lambda state: observer.on_change(plan, state))
    try:
        _adopt_records(folder, ledger)
        unfinished = ledger.state.num_ended < plan.config.trials
        # The trials of a cluster run on other machines, which build their own.
        if unfinished and address == "local":
            _build_targets(folder, plan, data, observer)
        observer.on_change(plan, ledger.state)
        if unfinished:
            tune_trials(folder, plan, ledger, Recorder(folder, plan, data), address)
        if ledger.state.num_ended < plan.config.trials:
            raise SweepInterruptedError(folder.name)
    finally:
        ledger.close()
    return read_records(folder.results)


def _adopt_records(folder: SweepFolder, ledger: Ledger) -> None:
    """Note as ended what was recorded just before a crash kept the ledger from noting it."""
    running = {trial.number for trial in ledger.state.with_status("running")}
    for record in read_records(folder.results):
        if record.trial in running:
            ledger.append(
                "ended",
                trial=record.trial,
                status=record.status,
                reason=record.reason,
                metrics=record.metrics,
                sizes={"parameters": record.parameters, "flops": record.flops},
            )
            CheckpointFolder(folder.checkpoints(record.trial)).clear()
