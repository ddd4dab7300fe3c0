"""A ledger in an object store: in parts, by one writer, and nothing of it lost or doubled."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from core.errors import StorageError
from hpo.records.ledger import read_ledger
from hpo.records.sweep_folder import SweepFolder, all_sweeps, find_sweep
from hpo.records.trial_files import writable_ledger
from hpo.storage import driver_lease, ledger_parts
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


@pytest.mark.parametrize("compares", [True, False])
def test_what_a_driver_that_lost_its_place_sends_late_is_ignored(
    s3: S3Server, machines: Machines, monkeypatch: pytest.MonkeyPatch, compares: bool
) -> None:
    monkeypatch.setattr(s3, "compares", compares)
    folder = begin(machines.new())
    newer = SweepFolder(machines.new() / "first")
    replaced = pytest.raises(StorageError, match="one writer, but another process has begun to")
    with ExitStack() as held, replaced, folder.driver_lock(), writable_ledger(folder) as ledger:
        ledger.append("suggested", trial=0, settings={}, seed=1)
        with monkeypatch.context() as patch:
            patch.setattr(driver_lease, "STALE_AFTER", -1.0)
            held.enter_context(newer.driver_lock())
        other = held.enter_context(writable_ledger(newer))
        with pytest.raises(StorageError, match="one writer, but another process has begun to"):
            ledger.append("epoch", trial=0, epoch=1, metrics={"val_mae": 1.0})
        ended = {"status": "failed", "reason": "x", "metrics": {}}
        other.append("ended", trial=0, **ended)
        with pytest.raises(StorageError, match="one writer, but another process has begun to"):
            ledger.append("epoch", trial=0, epoch=2, metrics={"val_mae": 1.0})
    seen = read_ledger(find_sweep(machines.new(), "first").ledger_file)
    assert seen.trials[0].status == "failed"
    assert seen.trials[0].history == {}


def test_a_late_part_where_a_store_does_not_compare_is_ignored(
    s3: S3Server, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "compares", False)
    storage = machines.new()
    folder = begin(storage)
    for _ in range(2):
        with folder.driver_lock(), writable_ledger(folder) as ledger:
            ledger.append("suggested", trial=len(ledger.state.trials), settings={}, seed=1)
    mirror = mirror_at(storage)
    assert mirror is not None
    seal = next(key for key, found in mirror.store.list("first/ledger").items() if not found.size)
    mirror.store.put(seal, b"late and wrong")
    assert len(read_ledger(find_sweep(machines.new(), "first").ledger_file).trials) == 2


def test_a_part_whose_answer_got_lost_is_put_again_as_it_was(
    s3: S3Server, machines: Machines
) -> None:
    folder = begin(machines.new())

    def parts(environ: Environ) -> bool:
        if environ["REQUEST_METHOD"] != "PUT" or "/ledger/" not in environ["PATH_INFO"]:
            return False
        s3._answered(environ, lambda *_: lambda _: None)
        return True

    with folder.driver_lock(), writable_ledger(folder) as ledger:
        with s3.failing(parts, ("403 Forbidden", "AccessDenied")):
            for trial in range(2):
                with pytest.raises(ObjectStoreError):
                    ledger.append("suggested", trial=trial, settings={}, seed=1)
        ledger.append("suggested", trial=2, settings={}, seed=1)
        assert len(read_ledger(find_sweep(machines.new(), "first").ledger_file).trials) == 3


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
            assert len(held.store.list("first/ledger")) <= 4 + 2, "an empty one, a whole one"
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
