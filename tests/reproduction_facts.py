"""Rows of a reproduction with chosen test errors, made without a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.evaluation.forecasting import new_errors
from core.preprocessing.prepare import PreparedData
from hpo.planning.places import Places
from hpo.records.sweep_folder import SweepFolder
from hpo.report.paper import PaperDataset
from hpo.reproduction.contenders import CONTENDERS
from hpo.reproduction.facts import FoundRow, ReproductionFacts
from hpo.reproduction.planning import Part, ReproductionPlan
from hpo.reproduction.request import ReproductionRequest
from hpo.reproduction.tables import PaperTable
from hpo.reproduction.test_days import JudgedDays, repeated_test_days
from hpo.space.search_space import built_in_search_space
from tests.small_sweeps import record

ENTRIES = 500.0


def judged(data: PreparedData, by_day: Sequence[float]) -> JudgedDays:
    """Test days with these MAEs, at every horizon the same."""
    days = {}
    for day, error in enumerate(by_day):
        errors = new_errors(data)
        errors.sums[0], errors.sums[1] = error * ENTRIES, error**2 * ENTRIES
        errors.sums[2], errors.sums[4] = ENTRIES, ENTRIES
        errors.sums[3] = error / 50 * ENTRIES
        errors.windows = 100
        days[day] = errors
    return JudgedDays(days)


def found_row(
    data: PreparedData, name: str, by_seed: Sequence[Sequence[float]], share: float | None = None
) -> FoundRow:
    """A row of a run per entry: its MAEs by test day."""
    request = ReproductionRequest("small", seeds=len(by_seed))
    contender = CONTENDERS[name]
    config = request.sweep_config(contender, 1000)
    space = built_in_search_space(contender.method, "paper")
    part = Part(contender, config, space, len(by_seed), True, SweepFolder(Path("nowhere") / name))
    shares = {} if share is None else {"train_teacher_share": share}
    runs = [
        record(at, 3.0, seed=at, metrics={"val_mae": 3.0, **shares}) for at in range(len(by_seed))
    ]
    return FoundRow(part, runs, [judged(data, days) for days in by_seed])


def facts_of(
    data: PreparedData,
    tables: list[PaperTable],
    rows: Sequence[FoundRow],
    paper: PaperDataset | None = None,
) -> ReproductionFacts:
    """Facts of these rows alone."""
    request = ReproductionRequest("small", seeds=5)
    parts = [row.part for row in rows]
    plan = ReproductionPlan(
        request, tables, Places(Path("data"), Path("nowhere")), data, paper, parts
    )
    found = {row.part.contender.name: row for row in rows}
    references = {"repeat_last": repeated_test_days(data)}
    return ReproductionFacts(plan, found, None, None, references)


def noisy(mean: float, seed: int, spread: float = 0.01, days: int = 5) -> list[list[float]]:
    """MAEs of five seeds by day: all days alike but for noise."""
    rng = np.random.default_rng(seed)
    return rng.normal(mean, spread, (5, days)).tolist()
