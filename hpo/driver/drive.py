"""The one way trials are run: everything that has a ledger is driven from here.

A plan, its data and a folder in; what the ledger lacks is run on Ray, and the records of all that
ended come out. Shows nothing: whoever calls passes an observer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from core.preprocessing.prepare import PreparedData
from hpo.driver.observers import SweepInterruptedError, SweepObserver
from hpo.driver.ray_cluster import termination_as_interrupt
from hpo.driver.ray_tune import tune_trials
from hpo.driver.recorder import Recorder
from hpo.records.kept_students import StudentKeeper
from hpo.records.ledger import Ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.records.trial_files import clear_checkpoints, writable_ledger
from hpo.records.trial_records import TrialRecord, read_record, read_records
from hpo.search.fixed_runs import PlannedRun
from hpo.trials.student_training import build_targets


def drive(
    folder: SweepFolder,
    plan: SweepPlan,
    data: PreparedData,
    address: str,
    observer: SweepObserver,
    runs: Sequence[PlannedRun] | None = None,
    deadline: float = math.inf,
) -> list[TrialRecord]:
    """Run what the ledger says is still to run and return the records of all that ended.

    Args:
        folder: of a sweep, or of its confirmation; the caller is its driver.
        plan: says how many trials there are to be.
        data: what the plan was made for.
        address: of a Ray cluster.
        observer: told of everything that happens.
        runs: these instead of what a sampler asks for.
        deadline: of ``time.monotonic``; then what runs is left to be gone on with.

    Raises:
        SweepInterruptedError: the user stopped it before the deadline.
    """
    ledgers = writable_ledger(folder, lambda state: observer.on_change(plan, state))
    with termination_as_interrupt(), _interrupts_named(folder), ledgers as ledger:
        adopt_records(folder, ledger)
        StudentKeeper(folder, plan.config).tidy(ledger.state)
        unfinished = ledger.state.num_ended < plan.config.trials
        # So that no trial waits for them. Those of a cluster run on other machines, which build
        # their own.
        if unfinished and address == "local":
            build_targets(folder, plan, data, observer.on_targets)
        observer.on_change(plan, ledger.state)
        if unfinished and time.monotonic() < deadline:
            recorder = Recorder(folder, plan, data)
            tune_trials(folder, plan, ledger, recorder, address, runs, deadline)
        if ledger.state.num_ended < plan.config.trials and time.monotonic() < deadline:
            raise SweepInterruptedError(folder.name)
    return read_records(folder.results)


@contextmanager
def _interrupts_named(folder: SweepFolder) -> Iterator[None]:
    """Say of an interrupt, wherever it comes, what can be gone on with."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise SweepInterruptedError(folder.name) from error


def adopt_records(folder: SweepFolder, ledger: Ledger) -> None:
    """Note as ended what was recorded just before a crash kept the ledger from noting it."""
    for trial in ledger.state.with_status("running"):
        record = read_record(folder.results, trial.number)
        if record is not None:
            ledger.append(
                "ended",
                trial=record.trial,
                status=record.status,
                reason=record.reason,
                metrics=record.metrics,
                sizes=record.costs,
            )
            clear_checkpoints(folder, record.trial)
