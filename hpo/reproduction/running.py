"""Run what is missing for some tables: searches, then the chosen configurations on shared seeds.

All rows share the workers of one Ray; every stop can be gone on from, by the same call. Students of
complete rows are judged on the test days, once. Prints nothing; progress goes to an observer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace

from core.errors import UserError
from hpo.driver.drive import drive_together
from hpo.driver.observers import SweepObserver
from hpo.driver.ray_cluster import cluster, termination_as_interrupt
from hpo.driver.sweep_run import SweepRun
from hpo.outcomes.confirmation_planning import plan_confirmation
from hpo.outcomes.confirmation_runs import begun_confirmation
from hpo.planning.networks import needs_teacher
from hpo.records.ledger import read_ledger
from hpo.records.ranking import no_student
from hpo.records.sweep_plan import extended_plan
from hpo.records.trial_records import read_records
from hpo.reproduction.planning import Part, ReproductionPlan
from hpo.reproduction.test_days import judge_runs
from hpo.sweep import begun_sweep, resumed_sweep


class ReproductionObserver(SweepObserver):
    """Watches a reproduction; ignores every report that a subclass does not override."""

    def on_stage(self, stage: str) -> None:
        """Receive what begins for all rows: ``search``, ``seeds`` or ``test days``."""

    def on_judged(self, part: Part) -> None:
        """Receive a row that is complete."""


@dataclass(frozen=True)
class _Run:
    plan: ReproductionPlan
    observer: ReproductionObserver
    deadline: float

    @property
    def in_time(self) -> bool:
        return time.monotonic() < self.deadline


def run_reproduction(
    plan: ReproductionPlan,
    observer: ReproductionObserver | None = None,
    time_budget: float = math.inf,
) -> None:
    """Run everything that is missing.

    Args:
        plan: the rows.
        observer: notified of everything that happens.
        time_budget: seconds; then nothing new begins, and the next call goes on.

    Raises:
        UserError: a row cannot be run, or no trial of it gave a student.
        SweepInterruptedError: stopped by the user; what ended is kept.
    """
    run = _Run(plan, observer or ReproductionObserver(), time.monotonic() + time_budget)
    if plan.left:
        with termination_as_interrupt(), cluster(plan.places.address):
            _train(run, "search", [part for part in plan.parts if _unsearched(part)], _search)
            _train(run, "seeds", [part for part in plan.parts if part.left()], _confirmation)
    run.observer.on_stage("test days")
    for part in plan.parts:
        if not part.left():
            _judge(run, part)


def _unsearched(part: Part) -> bool:
    """Whether trials of the row's sweep are missing; of a fixed row these are its seeds."""
    return part.left() > 0 and (part.fixed or part.searched < part.trials)


def _train(
    run: _Run,
    stage: str,
    parts: list[Part],
    begun: Callable[[_Run, Part], AbstractContextManager[SweepRun]],
) -> None:
    """Run the sweeps or confirmations of rows together, so that no worker waits for a row."""
    if not parts or not run.in_time:
        return
    run.observer.on_stage(stage)
    with ExitStack() as held:
        drive_together([held.enter_context(begun(run, part)) for part in parts])


def _search(run: _Run, part: Part) -> AbstractContextManager[SweepRun]:
    places, observer = run.plan.places, run.observer
    if part.exists:
        state = read_ledger(part.folder.ledger_file)
        present = extended_plan(part.folder.read_plan(), state).config.trials
        trials = max(part.config.trials, present)
        return resumed_sweep(part.folder.name, places, observer, trials, run.deadline)
    config = part.config
    if needs_teacher(config):  # the one that taught the rows before
        config = replace(config, teacher=run.plan.teacher())
    return begun_sweep(config, places, part.space, observer, run.deadline)


def _confirmation(run: _Run, part: Part) -> AbstractContextManager[SweepRun]:
    missing = plan_confirmation(part.folder, part.seeds, top=1)
    return begun_confirmation(missing, run.plan.places.address, run.observer, run.deadline)


def _judge(run: _Run, part: Part) -> None:
    if not any(one.status == "finished" for one in part.runs()):
        records = read_records(part.home.results) or read_records(part.folder.results)
        see = f"hpo status {part.folder.name}"
        raise UserError(no_student(f"row {part.contender.label!r}", records, see))
    judge_runs(part.home, part.runs(), run.plan.data)
    run.observer.on_judged(part)
