"""Run the remaining trials of a sweep, or of several together, on Ray.

Searches, resumed searches and confirmations all run through ``drive``: each is a ``SweepRun`` with
a ledger that says what is left. Prints nothing; progress goes to the run's observer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from hpo.driver.observers import SweepInterruptedError
from hpo.driver.ray_cluster import termination_as_interrupt
from hpo.driver.ray_tune import tune_trials
from hpo.driver.sweep_run import SweepRun
from hpo.records.kept_students import StudentKeeper
from hpo.records.ledger import Ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import extended_plan
from hpo.records.sweep_state import SweepState
from hpo.records.trial_files import clear_checkpoints, writable_ledger
from hpo.records.trial_records import TrialRecord, join_records, read_record, read_records
from hpo.trials.student_training import build_targets


def drive(run: SweepRun) -> list[TrialRecord]:
    """Run the trials that the ledger lacks and return the records of all that ended.

    Raises:
        SweepInterruptedError: the user stopped it before the deadline.
    """
    drive_together([run])
    return read_records(run.folder.results)


def drive_together(runs: Sequence[SweepRun]) -> None:
    """Run the trials that the ledgers of several sweeps lack, on the same workers.

    Args:
        runs: one or more, with one address and one deadline; sweeps begin in this order.

    Raises:
        SweepInterruptedError: the user stopped them before the deadline.
    """
    address, deadline = runs[0].address, runs[0].deadline
    with termination_as_interrupt(), _interrupts_named(runs), ExitStack() as opened:
        sweeps = [(run, opened.enter_context(_open_ledger(run))) for run in runs]
        unfinished = [(run, ledger) for run, ledger in sweeps if _is_unfinished(run, ledger)]
        # So that no trial waits for them. Those of a cluster run on other machines, which build
        # their own.
        if address == "local":
            for run, _ in unfinished:
                build_targets(run.folder, run.plan, run.data, run.observer.on_targets)
        for run, ledger in sweeps:
            run.observer.on_change(extended_plan(run.plan, ledger.state), ledger.state)
        _tune_until_all_fit(unfinished, deadline)
        for run, ledger in unfinished:
            if not _is_unfinished(run, ledger):
                join_records(run.folder.results)
            elif time.monotonic() < deadline:
                raise SweepInterruptedError(run.folder.name)


@contextmanager
def _open_ledger(run: SweepRun) -> Iterator[Ledger]:
    """Open a sweep's ledger and put its files in order."""

    def on_change(state: SweepState) -> None:
        run.observer.on_change(extended_plan(run.plan, state), state)

    with writable_ledger(run.folder, on_change) as ledger:
        adopt_records(run.folder, ledger)
        StudentKeeper(run.folder, run.plan.config).tidy(ledger.state)
        yield ledger


def _is_unfinished(run: SweepRun, ledger: Ledger) -> bool:
    return ledger.state.num_ended < extended_plan(run.plan, ledger.state).config.trials


def _tune_until_all_fit(sweeps: Sequence[tuple[SweepRun, Ledger]], deadline: float) -> None:
    """Run what is left, again with twice the share where trials ran out of memory alone are."""
    left = list(sweeps)
    while left and time.monotonic() < deadline:
        before = [dict(ledger.state.outgrown) for _, ledger in sweeps]
        tune_trials(left)
        left = [(run, ledger) for run, ledger in sweeps if _is_unfinished(run, ledger)]
        if not _only_outgrown([ledger.state for _, ledger in sweeps], before):
            return  # stopped by the user, perhaps between two trials


def _only_outgrown(states: Sequence[SweepState], before: Sequence[Mapping[int, float]]) -> bool:
    """Whether trials are unfinished, and each of them ran out of memory since ``before``."""
    outgrown = [
        state.outgrown.get(trial.number, 0) > shares.get(trial.number, 0)
        for state, shares in zip(states, before, strict=True)
        for trial in state.with_status("running")
    ]
    return bool(outgrown) and all(outgrown)


@contextmanager
def _interrupts_named(runs: Sequence[SweepRun]) -> Iterator[None]:
    """Name the first sweep in an interrupt, wherever it comes, so that the user can resume it."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise SweepInterruptedError(runs[0].folder.name) from error


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
