"""Hundreds of trials that take no time: what the driver keeps, and that each is there once."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hpo.driver import ray_tune as tuning
from hpo.driver.sweep_run import SweepRun
from hpo.planning.places import Places
from hpo.planning.sweep_planning import plan_sweep
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_state import SweepState
from hpo.records.trial_records import read_records
from hpo.search.ledger_searcher import LedgerSearcher
from hpo.space.search_space import SearchSpace, built_in_search_space
from hpo.sweep_config import SweepConfig
from tests.integration.sweeps import events, instant_trial, local_ray, report, short_trial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TRIALS = 500
EPOCHS = 10
MOST_KILOBYTES_PER_TRIAL = 20
"""Of ten epochs with thirteen numbers each: 130 numbers, and what names and finds them."""
SPACE: SearchSpace = built_in_search_space("ord")


def resident_kilobytes() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_search_keeps_a_little_for_each_trial_however_many_there_were(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    config = SweepConfig("night", "ord", "small", TRIALS, EPOCHS, sampler="random")
    searcher = LedgerSearcher(config, SPACE, ledger, str(tmp_path), 1, lambda *_: None)
    sizes = {}
    for number in range(TRIALS):
        name = f"ray-{number}"
        searcher.suggest(name)
        for epoch in range(1, EPOCHS + 1):
            searcher.on_trial_result(name, report(number, epoch))
        ended = {**report(number, EPOCHS), "ended": True, "status": "finished"}
        searcher.on_trial_complete(name, ended)
        if number + 1 in {TRIALS // 5, TRIALS}:
            gc.collect()
            sizes[number + 1] = resident_kilobytes()
    assert searcher.live == {}
    growth = (sizes[TRIALS] - sizes[TRIALS // 5]) / (TRIALS - TRIALS // 5)
    assert growth < MOST_KILOBYTES_PER_TRIAL
    assert read_ledger(tmp_path / "ledger.jsonl") == ledger.state


def run_stand_in(
    trial: Callable[[dict[str, Any]], None],
    trials: int,
    traffic: Path,
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_change: Callable[[SweepState], None] = lambda _: None,
) -> tuple[SweepFolder, SweepState]:
    """A sweep on two cores whose trials are ``trial``, not training."""
    config = SweepConfig("night", "none", "small", trials, 1, sampler="random")
    plan, data = plan_sweep(config, Places(traffic, storage))
    folder = SweepFolder(storage / "night")
    folder.write_plan(plan)
    monkeypatch.setattr(tuning, "run_trial", trial)
    ledger = Ledger(folder.ledger_file, on_change)
    with closing(ledger), local_ray():
        tuning.tune_trials([(SweepRun(folder, plan, data), ledger)])
    return folder, ledger.state


def test_all_workers_are_kept_busy_by_trials_shorter_than_a_worker_takes_to_start(
    traffic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = run_stand_in(short_trial, 150, traffic, tmp_path, monkeypatch)
    order = [one["trial"] for one in events(folder.path) if one["event"] == "ended"]
    workers = {record.trial: record.machine for record in read_records(folder.results)}
    assert (folder.path / "died").exists()
    assert len(set(workers.values())) == 3, "two, of which one died and got a successor"
    assert len({workers[trial] for trial in order[-50:]}) == 2


def test_hundreds_of_instant_trials_are_there_once_each(
    traffic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: dict[int, int] = {}

    def measure(state: SweepState) -> None:
        sizes.setdefault(state.num_ended, resident_kilobytes())

    folder, state = run_stand_in(instant_trial, TRIALS, traffic, tmp_path, monkeypatch, measure)
    kinds = Counter((one["event"], one["trial"]) for one in events(folder.path))
    assert len(kinds) == 3 * TRIALS
    assert set(kinds.values()) == {1}
    assert [record.trial for record in read_records(folder.results)] == list(range(TRIALS))
    assert pq.read_table(folder.results, columns=["trial", "val_mae"]).num_rows == TRIALS
    best = state.best("val_mae")
    assert best is not None
    assert best.number == 0
    grown = (sizes[TRIALS] - sizes[TRIALS // 5]) / (TRIALS - TRIALS // 5)
    assert grown < 2 * MOST_KILOBYTES_PER_TRIAL, "with what Ray Tune itself keeps"
