"""What a new sweep is run with: its plan is made once, and each shape is timed once for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import hpo.planning.sweep_planning
import hpo.sweep
import hpo.trials.student_costs
from core.preprocessing.prepare import PreparedData
from core.stgcn import STGCNConfig
from hpo.driver.ray_tune import student_costs
from hpo.driver.sweep_run import SweepRun
from hpo.planning.places import Places
from hpo.planning.sweep_planning import plan_sweep
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.trial_records import TrialRecord
from hpo.space.search_space import SearchSpace, built_in_search_space, corners
from hpo.sweep import resume_sweep, run_sweep
from hpo.sweep_config import SweepConfig

WIDTHS = built_in_search_space("widths").parameters
SPACE = SearchSpace(
    "none", {name: WIDTHS[name] for name in WIDTHS if not name.startswith("alpha")}, ()
)
BOTH_WAYS = SweepConfig(
    "night", "none", "small", 3, 1, objective="val_mae,latency_ms", max_latency_ms=1000.0
)
"""The largest student is the reference of one objective, the smallest the check of a limit."""


@contextmanager
def no_cluster(address: str) -> Iterator[dict[str, float]]:
    """Stand in for Ray: nothing gets as far as a trial here."""
    yield {"CPU": 2.0}


@pytest.fixture
def timings(monkeypatch: pytest.MonkeyPatch) -> Counter[STGCNConfig]:
    """How often each shape was timed."""
    counted: Counter[STGCNConfig] = Counter()

    def count(shape: STGCNConfig, data: PreparedData) -> float:
        counted[shape] += 1
        return shape.parameters / 100

    monkeypatch.setattr(hpo.trials.student_costs, "shape_latency", count)
    return counted


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> list[SweepRun]:
    """What was driven, by a driver that asks for the costs of the corners of the space."""
    runs: list[SweepRun] = []

    def drive(run: SweepRun) -> list[TrialRecord]:
        runs.append(run)
        ledger = Ledger(run.folder.ledger_file)
        costs = student_costs(run, ledger)
        for settings in corners(SPACE) * 2:
            costs.of(settings)
        ledger.close()
        return []

    monkeypatch.setattr(hpo.sweep, "cluster", no_cluster)
    monkeypatch.setattr(hpo.sweep, "drive", drive)
    return runs


def test_each_shape_is_timed_once_from_the_checks_to_the_trials(
    places: Places, timings: Counter[STGCNConfig], driven: list[SweepRun]
) -> None:
    run_sweep(BOTH_WAYS, places, SPACE)
    (run,) = driven
    small, large = (run.sizes.shape(corner) for corner in corners(SPACE))
    assert timings == {small: 1, large: 1}
    assert run.plan.reference["latency_ms"] == large.parameters / 100
    assert len(read_ledger(run.folder.ledger_file).latencies) == 2
    resume_sweep("night", places)
    assert timings == {small: 1, large: 1}


def test_a_dry_run_times_each_shape_once_too(places: Places, timings: Counter[STGCNConfig]) -> None:
    plan_sweep(BOTH_WAYS, places, SPACE)
    assert sorted(timings.values()) == [1, 1]
    assert not places.storage.exists()


def test_a_plan_is_made_once(
    places: Places, driven: list[SweepRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    repeat_last = hpo.planning.sweep_planning.repeat_last

    def count(data: PreparedData, part: str) -> dict[str, float]:
        made.append(part)
        return repeat_last(data, part)

    monkeypatch.setattr(hpo.planning.sweep_planning, "repeat_last", count)
    run_sweep(SweepConfig("night", "none", "small", 3, 1), places)
    assert made == ["validation"]
    assert driven[0].plan == driven[0].folder.read_plan()
