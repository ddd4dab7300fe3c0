"""Run what is missing for some tables: searches, then the chosen configurations on shared seeds.

Row by row on one Ray; every stop can be gone on from, by the same call. At the end of each row its
students are judged on the test days, once. Prints nothing; progress goes to an observer.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from core.errors import UserError
from hpo.driver.observers import SweepObserver
from hpo.driver.ray_cluster import cluster, termination_as_interrupt
from hpo.outcomes.confirmation_runs import plan_confirmation, run_confirmation
from hpo.planning.networks import needs_teacher
from hpo.records.ledger import read_ledger
from hpo.records.ranking import no_student
from hpo.records.sweep_plan import extended_plan
from hpo.records.trial_records import read_records
from hpo.reproduction.planning import Part, ReproductionPlan
from hpo.reproduction.test_days import judge_runs
from hpo.sweep import resume_sweep, run_sweep


class ReproductionObserver(SweepObserver):
    """Watches a reproduction; ignores every report that a subclass does not override."""

    def on_part(self, part: Part, doing: str) -> None:
        """Receive what begins for a row: ``search``, ``seeds``, ``test days`` or ``done``."""


@dataclass(frozen=True)
class _Run:
    plan: ReproductionPlan
    observer: ReproductionObserver
    deadline: float

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()


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
    if not plan.left:
        for part in plan.parts:
            _judge(run, part)
        return
    with termination_as_interrupt(), cluster(plan.places.address):
        for part in plan.parts:
            if part.left() and run.seconds_left > 0:
                _search(run, part)
            if part.left() and run.seconds_left > 0 and not part.fixed:
                _confirm(run, part)
            if not part.left():
                _judge(run, part)


def _search(run: _Run, part: Part) -> None:
    run.observer.on_part(part, "seeds" if part.fixed else "search")
    if part.exists:
        if part.fixed or part.searched < part.trials:
            state = read_ledger(part.folder.ledger_file)
            present = extended_plan(part.folder.read_plan(), state).config.trials
            trials = max(part.config.trials, present)
            name, places = part.folder.name, run.plan.places
            resume_sweep(name, places, run.observer, trials=trials, time_budget=run.seconds_left)
        return
    config = part.config
    if needs_teacher(config):  # the one that taught the rows before
        config = replace(config, teacher=run.plan.teacher())
    run_sweep(config, run.plan.places, part.space, run.observer, run.seconds_left)


def _confirm(run: _Run, part: Part) -> None:
    if part.searched < part.trials:
        return  # the time is up
    run.observer.on_part(part, "seeds")
    missing = plan_confirmation(part.folder, part.seeds, top=1)
    run_confirmation(missing, run.plan.places.address, run.observer, run.deadline)


def _judge(run: _Run, part: Part) -> None:
    if not any(one.status == "finished" for one in part.runs()):
        records = read_records(part.home.results) or read_records(part.folder.results)
        see = f"hpo status {part.folder.name}"
        raise UserError(no_student(f"row {part.contender.label!r}", records, see))
    run.observer.on_part(part, "test days")
    judge_runs(part.home, part.runs(), run.plan.data)
    run.observer.on_part(part, "done")
