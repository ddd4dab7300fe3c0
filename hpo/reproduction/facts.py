"""Gather what was found for some tables: runs, test days, sizes, settings. Runs no training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import numpy as np

from core.training.teacher_files import TEACHER_FILE, teacher_folder
from core.training.teachers import Teacher, open_teacher
from hpo.planning.networks import pruning_base
from hpo.records.trial_records import TrialRecord
from hpo.reproduction.planning import Part, ReproductionPlan
from hpo.reproduction.statistics import Floats
from hpo.reproduction.test_days import (
    JudgedDays,
    repeated_test_days,
    student_test_days,
    teacher_test_days,
)


@dataclass(frozen=True)
class FoundRow:
    """A row and the runs of it that were judged on the test days."""

    part: Part
    runs: list[TrialRecord]
    """Finished ones, by seed."""
    test_days: list[JudgedDays]
    """Of each run."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left to run."""
        return not self.part.left()

    @cached_property
    def by_seed(self) -> dict[int, dict[str, float]]:
        """Test errors of each run, by its seed."""
        return {
            run.seed: days.summary() for run, days in zip(self.runs, self.test_days, strict=True)
        }

    def errors(self, metric: str) -> list[float]:
        """Return one test error of every run."""
        return [errors[metric] for errors in self.by_seed.values()]

    def mean(self, metric: str) -> float:
        """Return the mean of a test error over the runs."""
        return fmean(self.errors(metric))

    @property
    def teacher_share(self) -> list[float]:
        """Share of entries that took the teacher's prediction, of each run."""
        name = "train_teacher_share"
        return [run.metrics[name] for run in self.runs if name in run.metrics]

    def day_sums(self, seeds: list[int]) -> tuple[Floats, Floats]:
        """Return absolute errors and their numbers [days, horizons], summed over some seeds."""
        chosen = [
            days for run, days in zip(self.runs, self.test_days, strict=True) if run.seed in seeds
        ]
        sums = np.array(
            [[errors.sums.numpy() for errors in one.days.values()] for one in chosen]
        ).sum(axis=0)
        return sums[:, 0], sums[:, 2]


@dataclass(frozen=True)
class ReproductionFacts:
    """All that tables and verdicts are made of."""

    plan: ReproductionPlan
    rows: Mapping[str, FoundRow]
    """By contender; those with a judged run."""
    teacher: Teacher | None
    base: Teacher | None
    references: Mapping[str, JudgedDays]
    """``teacher``, ``base`` and ``repeat_last`` as far as they are there."""

    @property
    def unit(self) -> str:
        """Unit of the readings."""
        return self.plan.data.card.unit


def gather(plan: ReproductionPlan) -> ReproductionFacts:
    """Read what there is; only rows that are complete have been judged.

    Raises:
        UserError: a file is damaged.
    """
    rows = {
        name: row
        for part in plan.parts
        for name, row in [(part.contender.name, _row(plan, part))]
        if row is not None
    }
    teacher, base = _teacher(plan), _base(plan)
    references = {
        name: teacher_test_days(network, plan.data)
        for name, network in {"teacher": teacher, "base": base}.items()
        if network is not None
    }
    references["repeat_last"] = repeated_test_days(plan.data)
    return ReproductionFacts(plan, rows, teacher, base, references)


def _row(plan: ReproductionPlan, part: Part) -> FoundRow | None:
    runs = [
        run
        for run in part.runs()
        if run.status == "finished" and part.home.store.exists(part.home.test_days(run.trial))
    ]
    runs.sort(key=lambda run: run.trial)
    judged = [student_test_days(part.home, run, plan.data) for run in runs]
    return FoundRow(part, runs, judged) if runs else None


def _teacher(plan: ReproductionPlan) -> Teacher | None:
    fingerprint = plan.teacher()
    return None if fingerprint is None else _opened(plan, fingerprint)


def _base(plan: ReproductionPlan) -> Teacher | None:
    if not any(part.contender.base == "table1" for part in plan.parts):
        return None
    return _opened(plan, pruning_base(plan.request.form).fingerprint_for(plan.data))


def _opened(plan: ReproductionPlan, fingerprint: str) -> Teacher | None:
    folder = teacher_folder(plan.places.storage.resolve(), fingerprint)
    return open_teacher(folder) if (folder / TEACHER_FILE).is_file() else None
