"""A ledger in an object store: in parts, by one writer, and nothing of it lost or doubled."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import StorageError
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_folder import SweepFolder, all_sweeps, find_sweep
from hpo.records.trial_files import writable_ledger
from hpo.storage import ledger_parts
from hpo.storage.mirror import Mirror, mirror_at
from hpo.storage.object_store import ObjectStoreError
from tests.hpo.mirrored_sweeps import Machines, begin
from tests.object_stores import Environ, S3Server


@pytest.fixture
def mirror(machines: Machines) -> tuple[Mirror, SweepFolder]:
    """A sweep that has begun, and its mirror."""
    folder = begin(machines.new())
    found = mirror_at(folder.storage)
    assert found is not None
    return found, folder


def test_what_a_driver_that_lost_its_place_sends_late_is_ignored(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begin(machines.new())
    with folder.driver_lock(), writable_ledger(folder) as ledger:
        ledger.append("suggested", trial=0, settings={}, seed=1)
        newer = SweepFolder(machines.new() / "first")
        newer.refresh()
        newer_mirror = mirror_at(newer.storage)
        assert newer_mirror is not None
        taken = ledger_parts.LedgerParts(newer_mirror, newer.ledger_file, lambda: None)
        ledger.append("epoch", trial=0, epoch=1, metrics={"val_mae": 1.0})
        other = Ledger(newer.ledger_file)
        other.on_written = taken.append
        other.append("ended", trial=0, status="failed", reason="x", metrics={})
        other.close()
        monkeypatch.setattr(ledger_parts, "MAX_PARTS", 1)
        with pytest.raises(StorageError, match="one writer, but another process has begun to"):
            ledger.append("epoch", trial=0, epoch=2, metrics={"val_mae": 1.0})
        monkeypatch.setattr(ledger_parts, "MAX_PARTS", 500)
        seen = read_ledger(find_sweep(machines.new(), "first").ledger_file)
    assert seen.trials[0].status == "failed"
    assert seen.trials[0].history == {}
    after = find_sweep(machines.new(), "first")
    assert read_ledger(after.ledger_file) == seen


def test_epochs_that_follow_each_other_are_gathered_and_put_soon(
    mirror: tuple[Mirror, SweepFolder], machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, folder = mirror
    timers: list[Any] = []
    monkeypatch.setattr(ledger_parts.threading, "Timer", lambda _, put: Waiting(timers, put))
    with folder.driver_lock(), writable_ledger(folder) as ledger:
        ledger.append("suggested", trial=0, settings={}, seed=1)
        for epoch in range(1, 6):
            ledger.append("epoch", trial=0, epoch=epoch, metrics={"val_mae": 1.0})
        assert len(held.store.list("first/ledger")) == 3, "the first part, suggested, one epoch"
        timers[0].put()
        assert len(held.store.list("first/ledger")) == 4
        ledger.append("epoch", trial=0, epoch=6, metrics={"val_mae": 1.0})
        ledger.append("epoch", trial=0, epoch=7, metrics={"val_mae": 1.0})
    seen = read_ledger(find_sweep(machines.new(), "first").ledger_file)
    assert sorted(seen.trials[0].history) == [1, 2, 3, 4, 5, 6, 7]


class Waiting:
    """A timer that waits for the test."""

    def __init__(self, timers: list[Any], put: Any) -> None:
        self.put = put
        timers.append(self)

    def start(self) -> None:
        pass

    def cancel(self) -> None:
        pass


def test_many_parts_are_put_together(
    mirror: tuple[Mirror, SweepFolder], machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, folder = mirror
    monkeypatch.setattr(ledger_parts, "MAX_PARTS", 4)
    reader = machines.new()
    with folder.driver_lock(), writable_ledger(folder) as ledger:
        for number in range(20):
            ledger.append("suggested", trial=number, settings={"x": number}, seed=number)
            assert len(held.store.list("first/ledger")) <= 4
            seen = read_ledger(find_sweep(reader, "first").ledger_file)
            assert len(seen.trials) == number + 1


def test_looking_from_the_drivers_machine_leaves_its_ledger_alone(machines: Machines) -> None:
    storage = machines.new()
    folder = begin(storage)
    with folder.driver_lock(), writable_ledger(folder) as ledger:
        ledger.append("suggested", trial=0, settings={}, seed=1)
        assert len(read_ledger(find_sweep(storage, "first").ledger_file).trials) == 1
        assert [sweep.name for sweep in all_sweeps(storage)] == ["first"]
        ledger.append("suggested", trial=1, settings={}, seed=1)
        assert len(read_ledger(folder.ledger_file).trials) == 2
    assert len(read_ledger(find_sweep(machines.new(), "first").ledger_file).trials) == 2


def test_what_a_killed_driver_had_not_put_yet_is_not_lost_on_its_machine(
    s3: S3Server, machines: Machines
) -> None:
    storage = machines.new()
    folder = begin(storage)
    told: list[int] = []

    def puts(environ: Environ) -> bool:
        return bool(told) and environ["REQUEST_METHOD"] == "PUT"

    denied = ("403 Forbidden", "AccessDenied")
    with s3.failing(puts, denied), pytest.raises(ObjectStoreError):
        append_until_it_fails(folder, told)
    elsewhere = machines.new()
    assert read_ledger(find_sweep(elsewhere, "first").ledger_file).trials[0].history == {}
    with find_sweep(storage, "first").driver_lock(), writable_ledger(folder) as ledger:
        assert ledger.state.trials[0].history == {1: {"val_mae": 1.0}}
    found = read_ledger(find_sweep(elsewhere, "first").ledger_file)
    assert found.trials[0].history == {1: {"val_mae": 1.0}}


def append_until_it_fails(folder: SweepFolder, told: list[int]) -> None:
    with folder.driver_lock(), writable_ledger(folder) as ledger:
        ledger.append("suggested", trial=0, settings={}, seed=1)
        told.append(0)
        ledger.append("epoch", trial=0, epoch=1, metrics={"val_mae": 1.0})
