"""Run a sweep's remaining trials on Ray and return the records of all that ended.

Searches, resumed searches and confirmations all run through ``drive``: each is a ``SweepRun`` with
a ledger that says what is left. Prints nothing; progress goes to the run's observer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from hpo.driver.observers import SweepInterruptedError
from hpo.driver.ray_cluster import termination_as_interrupt
from hpo.driver.ray_tune import tune_trials
from hpo.driver.sweep_run import SweepRun
from hpo.records.kept_students import StudentKeeper
from hpo.records.ledger import Ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.trial_files import clear_checkpoints, writable_ledger
from hpo.records.trial_records import TrialRecord, read_record, read_records
from hpo.trials.student_training import build_targets


def drive(run: SweepRun) -> list[TrialRecord]:
    """Run the trials that the ledger lacks and return the records of all that ended.

    Raises:
        SweepInterruptedError: the user stopped it before the deadline.
    """
    folder, plan, observer = run.folder, run.plan, run.observer
    ledgers = writable_ledger(folder, lambda state: observer.on_change(plan, state))
    with termination_as_interrupt(), _interrupts_named(folder), ledgers as ledger:
        adopt_records(folder, ledger)
        StudentKeeper(folder, plan.config).tidy(ledger.state)
        unfinished = ledger.state.num_ended < plan.config.trials
        # So that no trial waits for them. Those of a cluster run on other machines, which build
        # their own.
        if unfinished and run.address == "local":
            build_targets(folder, plan, run.data, observer.on_targets)
        observer.on_change(plan, ledger.state)
        if unfinished and time.monotonic() < run.deadline:
            tune_trials(run, ledger)
        if ledger.state.num_ended < plan.config.trials and time.monotonic() < run.deadline:
            raise SweepInterruptedError(folder.name)
    return read_records(folder.results)


@contextmanager
def _interrupts_named(folder: SweepFolder) -> Iterator[None]:
    """Name the sweep in an interrupt, wherever it comes, so that the user can resume it."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise SweepInterruptedError(folder.name) from error


def adopt_records(folder: SweepFolder, ledger: Ledger) -> None:
    """Mark trials as ended whose record was written just before a crash."""
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
