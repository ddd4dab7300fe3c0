"""What ends a whole sweep: storage that fails, and errors of the search itself."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from ray.tune.search import Searcher

from core.errors import ConfigError, StorageError
from hpo.driver.ray_cluster import trial_resources
from hpo.records import ledger as ledger_module
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.storage_faults import STOPPED, storage_fault, storage_faults_reported
from hpo.records.sweep_folder import SweepFolder
from hpo.search.stopping_searcher import StoppingSearcher
from hpo.sweep_config import SweepConfig


class Failing(Searcher):  # type: ignore[misc]
    """Fails once, then would go on."""

    def __init__(self) -> None:
        super().__init__(metric="val_mae", mode="min")
        self.calls: list[str] = []

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.calls.append(trial_id)
        if len(self.calls) == 2:
            raise ConfigError("no more")
        return {"trial": len(self.calls)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.calls.append("result")

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.calls.append("end")


def test_the_first_error_stays_whatever_is_asked_afterwards() -> None:
    behind = Failing()
    searcher = StoppingSearcher(behind)
    assert (searcher.metric, searcher.mode) == ("val_mae", "min")
    assert searcher.suggest("a") == {"trial": 1}
    assert searcher.failure is None
    with pytest.raises(ConfigError, match="no more"):
        searcher.suggest("b")
    for ask in (
        lambda: searcher.suggest("c"),
        lambda: searcher.on_trial_result("a", {}),
        lambda: searcher.on_trial_complete("a", {}),
    ):
        with pytest.raises(ConfigError, match="no more"):
            ask()
    assert isinstance(searcher.failure, ConfigError)
    assert behind.calls == ["a", "b"]


@pytest.mark.parametrize("end", [False, True])
def test_a_trial_whose_storage_failed_has_not_ended(end: bool) -> None:
    behind = Failing()
    searcher = StoppingSearcher(behind)
    told = {"trial": 0, "ended": True, "status": STOPPED, "reason": "the disk is full"}
    with pytest.raises(StorageError, match="the disk is full"):
        (searcher.on_trial_complete if end else searcher.on_trial_result)("a", told)
    assert behind.calls == []


@pytest.mark.parametrize(
    ("number", "begun", "message"),
    [
        (errno.ENOSPC, True, r"No space left on device; make room, then go on with `hpo resume n"),
        (errno.EDQUOT, False, r"quota exceeded; make room, then go on with the same command"),
        (errno.EROFS, True, r"Read-only file system; mend it, then go on with `hpo resume night`"),
    ],
)
def test_a_disk_that_fails_is_told_in_one_line(
    tmp_path: Path, number: int, begun: bool, message: str
) -> None:
    folder = SweepFolder(tmp_path / "night")
    if begun:
        folder.path.mkdir()
        folder.plan_file.touch()
    where = str(tmp_path / "night" / "results")
    expected = pytest.raises(StorageError, match=f"^{where} must .*{message}")
    with expected as raised, storage_faults_reported(folder):
        raise OSError(number, os.strerror(number), where)
    assert "\n" not in str(raised.value)


def test_other_errors_of_the_system_are_no_fault_of_a_disk(tmp_path: Path) -> None:
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", "x")
    assert storage_fault(missing, SweepFolder(tmp_path)) is None
    with pytest.raises(FileNotFoundError), storage_faults_reported(SweepFolder(tmp_path)):
        raise missing


def test_a_line_that_the_disk_did_not_take_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.jsonl"
    heard: list[int] = []
    ledger = Ledger(path, lambda state: heard.append(len(state.trials)))
    ledger.append("suggested", trial=0, settings={}, seed=1)
    before = path.read_bytes()

    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)  # the line is in the file by then
        with pytest.raises(OSError, match="No space"):
            ledger.append("suggested", trial=1, settings={}, seed=2)
    ledger.close()
    assert path.read_bytes() == before
    assert heard == [1]


def test_a_clock_that_goes_backwards_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Order is that of the lines; times are only shown."""
    times: Iterator[str] = iter(f"20{year}-01-01T00:00:00+00:00" for year in range(40, 0, -1))
    monkeypatch.setattr(ledger_module, "now", lambda: next(times))
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for trial in range(3):
        ledger.append("suggested", trial=trial, settings={"x": trial}, seed=trial)
    for epoch in (1, 2):
        ledger.append("epoch", trial=1, epoch=epoch, metrics={"val_mae": 3.0 - epoch})
    metrics = {"val_mae": 1.0}
    ledger.append("ended", trial=1, status="finished", reason=None, metrics=metrics, sizes={})
    ledger.close()
    state = read_ledger(tmp_path / "ledger.jsonl")
    assert state == ledger.state
    assert list(state.trials) == [0, 1, 2]
    assert list(state.trials[1].history) == [1, 2]
    assert [trial.number for trial in state.with_status("running")] == [0, 2]
    assert state.trials[0].suggested > state.trials[2].suggested


@pytest.mark.parametrize(
    ("address", "most", "at_once"),
    [("local", None, 4), ("local", 2, 2), ("local", 9, 4), ("auto", None, 4), ("auto", 9, 9)],
)
def test_only_a_cluster_may_be_asked_for_more_than_it_has_room_for(
    address: str, most: int | None, at_once: int
) -> None:
    config = SweepConfig("night", "none", "small", gpus_per_trial=0.25, max_concurrent=most)
    available = {"CPU": 4.0, "GPU": 1.0}
    assert trial_resources(config, available, address) == ({"cpu": 1.0, "gpu": 0.25}, at_once)


@pytest.mark.parametrize(("there", "asked"), [(0.0, None), (0.0, "auto"), (1.0, 0.0)])
def test_cuda_graphs_need_trials_with_a_gpu(
    there: float, asked: float | Literal["auto"] | None
) -> None:
    available = {"CPU": 4.0, "GPU": there}
    trial_resources(SweepConfig("night", "none", "small", gpus_per_trial=asked), available)
    config = SweepConfig("night", "none", "small", gpus_per_trial=asked, cuda_graphs=True)
    with pytest.raises(ConfigError, match=r"--cuda-graphs needs .*give them one with --gpus"):
        trial_resources(config, available)
