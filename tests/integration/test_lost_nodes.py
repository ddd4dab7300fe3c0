"""Machines of a cluster that are taken away in the middle: a real Ray, whose GPUs are made up."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from hpo.driver.ray_tune import WORKER_DEATHS
from hpo.planning.places import Places
from hpo.records.ledger import read_ledger
from hpo.records.sweep_state import SweepState
from hpo.records.trial_records import TrialRecord, read_records
from hpo.search.ledger_searcher import LedgerSearcher
from hpo.space.search_space import load_search_space
from hpo.sweep import run_sweep
from hpo.sweep_config import SweepConfig
from tests.integration.sweeps import Watcher, descendants, events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that trains nothing; tests add workers."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def raylet(node: Any) -> int:
    """The process that a node's workers are children of."""
    return int(node.all_processes["raylet"][0].process.pid)


def add_worker(cluster: Cluster) -> Any:
    return cluster.add_node(num_cpus=1, num_gpus=1, include_dashboard=False)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Trial, epoch and worker process of every report that comes in."""
    told: list[tuple[int, int, int]] = []
    tell = LedgerSearcher.on_trial_result

    def listen(self: LedgerSearcher, trial_id: str, result: dict[str, Any]) -> None:
        if "ended" not in result and "epoch" in result:
            told.append((result["trial"], result["epoch"], result["pid"]))
        tell(self, trial_id, result)

    monkeypatch.setattr(LedgerSearcher, "on_trial_result", listen)
    return told


def sweep(
    name: str,
    traffic: Path,
    storage: Path,
    space_file: Path,
    on_state: Callable[[SweepState], None],
    **settings: Any,
) -> list[TrialRecord]:
    config = SweepConfig(name, "none", "small", gpus_per_trial=1.0, **settings)
    space = load_search_space(space_file)
    return run_sweep(config, Places(traffic, storage), space, Watcher(on_state))


def check_nothing_is_lost_or_doubled(path: Path, trials: int) -> None:
    told = Counter((one["event"], one["trial"], one.get("epoch")) for one in events(path))
    assert set(told.values()) == {1}
    for kind in ("suggested", "ended"):
        assert sorted(trial for name, trial, _ in told if name == kind) == list(range(trials))
    assert [record.trial for record in read_records(path / "results")] == list(range(trials))
    for record in read_records(path / "results"):
        history = read_ledger(path / "ledger.jsonl").trials[record.trial].history
        assert sorted(history) == list(range(1, record.epochs + 1)), "an epoch is missing"


def test_the_trials_of_a_lost_node_go_on_elsewhere_with_the_same_numbers(
    cluster: Cluster,
    traffic: Path,
    space_file: Path,
    tmp_path: Path,
    reports: list[tuple[int, int, int]],
) -> None:
    nodes = [add_worker(cluster), add_worker(cluster)]
    killed: list[int] = []

    def kill_the_node_of_trial_0(state: SweepState) -> None:
        if not killed and state.trials and 2 in state.trials[0].history:
            killed.append(next(pid for trial, _, pid in reports if trial == 0))
            lost = next(node for node in nodes if killed[0] in descendants(raylet(node)))
            nodes.remove(lost)
            cluster.remove_node(lost, allow_graceful=False)

    records = sweep(
        "night", traffic, tmp_path, space_file, kill_the_node_of_trial_0, trials=4, epochs=12
    )
    calm = sweep("calm", traffic, tmp_path, space_file, lambda _: None, trials=4, epochs=12)
    cluster.remove_node(nodes.pop(), allow_graceful=False)

    assert len(killed) == 1
    check_nothing_is_lost_or_doubled(tmp_path / "night", trials=4)
    processes = list(dict.fromkeys(pid for trial, _, pid in reports if trial == 0))
    assert processes[0] == killed[0]
    assert len(processes) >= 2, "trial 0 did not move to the other node"
    assert [record.status for record in records] == ["finished"] * 3 + ["failed"]
    assert "must stay finite" in str(records[3].reason)
    expected = [(one.metrics, one.settings, one.seed, one.epochs) for one in calm]
    assert [(one.metrics, one.settings, one.seed, one.epochs) for one in records] == expected


def test_a_trial_that_gets_on_survives_more_nodes_than_it_may_lose_without(
    cluster: Cluster,
    traffic: Path,
    space_file: Path,
    tmp_path: Path,
    reports: list[tuple[int, int, int]],
) -> None:
    nodes = [add_worker(cluster)]
    losses = WORKER_DEATHS + 1
    wanted = [3 * loss for loss in range(1, losses + 1)]
    killed: set[int] = set()

    def kill(state: SweepState) -> None:
        epoch = max(state.trials[0].history, default=0) if state.trials else 0
        # A process takes a moment to die, and may report until then.
        if wanted and epoch >= wanted[0] and reports[-1][2] not in killed:
            wanted.pop(0)
            pid = reports[-1][2]
            killed.add(pid)
            if len(wanted) % 2:  # every other time the node's own notice: SIGTERM to its worker
                os.kill(pid, signal.SIGTERM)
            else:
                nodes.append(add_worker(cluster))
                cluster.remove_node(nodes.pop(0), allow_graceful=False)

    (record,) = sweep("night", traffic, tmp_path, space_file, kill, trials=1, epochs=30)
    cluster.remove_node(nodes.pop(), allow_graceful=False)
    assert wanted == []
    assert len({pid for _, _, pid in reports}) == losses + 1
    assert (record.status, record.epochs) == ("finished", 30)
    check_nothing_is_lost_or_doubled(tmp_path / "night", trials=1)
