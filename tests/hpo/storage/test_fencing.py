"""Two drivers that both believe they drive: whenever one was cut off, it overwrites nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from core.errors import StorageError
from core.files import write_bytes
from hpo.driver.drive import adopt_records
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_folder import SweepFolder, find_sweep
from hpo.records.trial_files import TrialFiles, writable_ledger
from hpo.records.trial_records import read_record, write_record
from hpo.storage import driver_lease, object_store
from hpo.storage.mirror import mirror_at
from hpo.storage.object_store import ObjectStore
from hpo.storage.storage import term_at
from tests.hpo.mirrored_sweeps import Machines, begin
from tests.object_stores import S3Server
from tests.small_sweeps import record

MOST_PUTS = 40
FIRST, SECOND = 1.0, 2.0
"""The errors that the first and the second driver find; their trials' students hold them too."""


@pytest.fixture(params=["s3", "memory"])
def machines(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Machines:
    """Machines on a store that compares before it puts."""
    monkeypatch.setattr(driver_lease, "RENEWAL_INTERVAL", 1000.0)
    if request.param == "s3":
        s3: S3Server = request.getfixturevalue("s3")
        return Machines(s3.address(f"fences/{tmp_path.name}"), tmp_path, monkeypatch)
    stores: dict[str, MemoryStore] = {}
    monkeypatch.setattr(
        object_store, "client_of", lambda url, *_: stores.setdefault(url, MemoryStore())
    )
    return Machines("gs://results/runs?scheme=http", tmp_path, monkeypatch)


@dataclass
class Driver:
    """A driver with one worker, and what it was told that it had written."""

    folder: SweepFolder
    error: float
    told: list[tuple[str, int]] = field(default_factory=list)

    @contextmanager
    def driving(self) -> Iterator[Ledger]:
        with self.folder.driver_lock(), writable_ledger(self.folder) as ledger:
            adopt_records(self.folder, ledger)
            yield ledger

    def note(self, ledger: Ledger, event: str, trial: int, **facts: Any) -> None:
        ledger.append(event, trial=trial, **facts)
        self.told.append((event, trial))

    def end_trial(self, ledger: Ledger, trial: int) -> None:
        worker = SweepFolder(self.folder.path, term_at(self.folder.address))
        write_bytes(worker.student(trial), f"{self.error}".encode())
        TrialFiles(worker, trial).upload_student()
        one = record(trial, self.error)
        self.folder.publish(write_record(self.folder.results, one))
        facts = {"status": "finished", "reason": None, "metrics": one.metrics, "sizes": {}}
        self.note(ledger, "ended", trial, **facts)

    def run(self, ledger: Ledger, trials: int) -> None:
        """End what is unfinished, then run new trials until there are so many."""
        for trial in ledger.state.with_status("running"):
            self.end_trial(ledger, trial.number)
        for trial in range(len(ledger.state.trials), trials):
            self.note(ledger, "suggested", trial, settings={"by": self.error}, seed=1)
            self.end_trial(ledger, trial)


def replaced_before_put(
    number: int, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> tuple[Driver, Driver, str]:
    """Run a driver that stands still before its put of this number while another one takes over."""
    first = Driver(begin(machines.new()), FIRST)
    second = Driver(SweepFolder(machines.new() / "first"), SECOND)
    left = [number]
    put: Callable[..., Any] = ObjectStore._put

    def put_late(store: ObjectStore, *arguments: Any) -> Any:
        left[0] -= 1
        if left[0] == -1:
            take_over(second, held, monkeypatch)
        return put(store, *arguments)

    with ExitStack() as held:
        try:
            with first.driving() as ledger, monkeypatch.context() as patch:
                patch.setattr(ObjectStore, "_put", put_late)
                first.run(ledger, trials=2)
        except StorageError as error:
            return first, second, str(error)
    return first, second, ""


def take_over(second: Driver, held: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(driver_lease, "STALE_AFTER", -1.0)
        ledger = held.enter_context(second.driving())
    second.run(ledger, trials=3)


def test_a_driver_that_was_replaced_before_any_put_overwrites_nothing(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = machines.address
    outcomes = []
    for number in range(MOST_PUTS):
        machines.address = address.replace("?", f"-{number}?")
        first, second, error = replaced_before_put(number, machines, monkeypatch)
        if not second.told:
            break
        assert "another process has" in error
        outcomes.append(check_all_is_the_seconds(first, second, machines.new()))
    assert len(outcomes) == number >= 8
    assert {*outcomes} == {True, False}, "the second one went on with what the first had ended"


def check_all_is_the_seconds(first: Driver, second: Driver, storage: Path) -> bool:
    """All that either was told is in the ledger once; records and students are as it says."""
    folder = find_sweep(storage, "first")
    state = read_ledger(folder.ledger_file)
    events = folder.ledger_file.read_text().splitlines()
    assert len(events) == len(set(events)) >= len(first.told) + len(second.told)
    assert len(state.trials) == 3
    for trial in state.trials.values():
        found = read_record(folder.results, trial.number)
        assert found is not None
        assert found.metrics == trial.metrics
        ended = ("ended", trial.number)
        assert (ended in first.told) + (ended in second.told) <= 1
        if ended in second.told:
            assert trial.metrics["val_mae"] == SECOND
            folder.store.download([folder.student(trial.number)])
            assert folder.student(trial.number).read_text() == f"{SECOND}"
        if ended in first.told:
            assert trial.metrics["val_mae"] == FIRST
    return any(trial.metrics["val_mae"] == FIRST for trial in state.trials.values())


def test_a_lease_that_was_taken_is_neither_renewed_nor_released_by_the_driver_before(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = begin(machines.new()), SweepFolder(machines.new() / "first")
    mirror = mirror_at(second.storage)
    assert mirror is not None
    with ExitStack() as held:
        with first.driver_lock():
            with monkeypatch.context() as patch:
                patch.setattr(driver_lease, "STALE_AFTER", -1.0)
                held.enter_context(second.driver_lock())
            lease = mirror.store.get("first/drivers/lease.json")
            monkeypatch.setattr(driver_lease, "RECHECK_AFTER", -1.0)
            with pytest.raises(StorageError, match="has taken over 'first'"):
                first.publish(first.plan_file)
        assert mirror.store.get("first/drivers/lease.json") == lease
        second.publish(first.plan_file.rename(second.plan_file))


def test_a_worker_of_a_driver_that_was_replaced_does_not_replace_a_student(
    machines: Machines,
) -> None:
    one, two = begin(machines.new()), SweepFolder(machines.new() / "first")
    with one.driver_lock():
        early = SweepFolder(one.path, term_at(one.address))
    with two.driver_lock():
        late = SweepFolder(two.path, term_at(two.address))
    for worker in (early, late):
        write_bytes(worker.student(0), f"{worker.term}".encode())
    TrialFiles(early, 0).upload_student()
    TrialFiles(late, 0).upload_student()
    with pytest.raises(StorageError, match=r"taken over 'first/trials/0000/student.safetensors'"):
        TrialFiles(early, 0).upload_student()
    TrialFiles(late, 0).upload_student()
    mirror = mirror_at(two.storage)
    assert mirror is not None
    assert mirror.store.get("first/trials/0000/student.safetensors") == f"{late.term}".encode()
