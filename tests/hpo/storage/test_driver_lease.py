"""Who drives a sweep, among processes that share nothing but a store."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.errors import StorageError
from hpo.storage import driver_lease
from hpo.storage.driver_lease import DriverLease, held_lease, is_driven, lease_on
from hpo.storage.object_store import ObjectStore, ObjectStoreError
from tests.integration.sweeps import ROOT
from tests.object_stores import Environ, S3Server

ROUNDS, AT_ONCE = 12, 4


@pytest.fixture
def store(s3: S3Server, tmp_path: Path) -> ObjectStore:
    """A prefix of this test's own."""
    return ObjectStore.at(s3.address(f"leases/{tmp_path.name}"))


@contextmanager
def driving(store: ObjectStore) -> Iterator[DriverLease]:
    lease = DriverLease(store, "night", "night")
    lease.acquire()
    try:
        yield lease
    finally:
        lease.release()


def test_the_second_driver_is_refused_until_the_first_has_ended(store: ObjectStore) -> None:
    with driving(store) as first:
        assert is_driven(store, "night")
        with pytest.raises(StorageError, match="one driver, but another process drives 'night' on"):
            DriverLease(store, "night", "night").acquire()
        first.check()
        assert is_driven(store, "night")
    assert not is_driven(store, "night")
    with driving(store) as second:
        second.check()


def test_of_many_at_the_same_moment_at_most_one_drives(store: ObjectStore) -> None:
    won: list[int] = []
    for number in range(ROUNDS):
        name = f"sweep-{number}"
        together, winners = threading.Barrier(AT_ONCE), []

        def compete(
            name: str = name,
            together: threading.Barrier = together,
            winners: list[DriverLease] = winners,
        ) -> None:
            lease = DriverLease(store, name, name)
            together.wait()
            try:
                lease.acquire()
            except StorageError:
                return
            winners.append(lease)

        threads = [threading.Thread(target=compete) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won.append(len(winners))
        for lease in winners:
            lease.release()
    assert max(won) <= 1, f"of {ROUNDS} rounds"


def test_a_driver_of_this_machine_that_was_killed_gives_way_at_once(
    store: ObjectStore, s3: S3Server
) -> None:
    script = (
        "import os, sys; from hpo.storage.driver_lease import DriverLease; "
        "from hpo.storage.object_store import ObjectStore; "
        "DriverLease(ObjectStore.at(sys.argv[1]), 'night', 'night').acquire(); os._exit(9)"
    )
    killed = subprocess.run([sys.executable, "-c", script, store.address], cwd=ROOT, check=False)
    assert killed.returncode == 9
    assert len(store.list("night/drivers")) == 1
    assert not is_driven(store, "night")
    with driving(store) as lease:
        assert [lease.driver in key for key in store.list("night/drivers")] == [True]


def test_one_that_does_not_renew_is_replaced_and_stops(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with driving(store) as first:
        with monkeypatch.context() as patch:
            patch.setattr(driver_lease, "STALE_AFTER", -1.0)
            second = DriverLease(store, "night", "night")
            second.acquire()
        first.check()  # sure of itself for a while: nobody may be taken for dead so soon
        monkeypatch.setattr(driver_lease, "RECHECK_AFTER", 0.0)
        for _ in range(2):
            with pytest.raises(StorageError, match="another process has taken over 'night' while"):
                first.check()
        second.check()
        second.release()


def test_one_that_comes_late_but_was_not_replaced_goes_on(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with driving(store) as lease:
        monkeypatch.setattr(driver_lease, "RECHECK_AFTER", 0.0)
        lease.check()
        with pytest.raises(StorageError, match="one driver, but another process drives"):
            DriverLease(store, "night", "night").acquire()


def test_a_late_renewal_counts_only_once_nobody_else_was_found(
    store: ObjectStore, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with driving(store) as lease:
        with monkeypatch.context() as patch:
            patch.setattr(driver_lease, "STALE_AFTER", -1.0)
            second = DriverLease(store, "night", "night")
            second.acquire()
        store.put(f"night/drivers/{lease.driver}.json", store.get(second_key(store, second)))

        def lists(environ: Environ) -> bool:
            return environ["REQUEST_METHOD"] == "GET" and "list-type" in environ["QUERY_STRING"]

        monkeypatch.setattr(driver_lease, "RECHECK_AFTER", 0.4)
        time.sleep(0.45)
        with s3.failing(lists), pytest.raises(ObjectStoreError):
            lease.check()
        with pytest.raises(StorageError, match="has taken over"):
            lease.check()
        second.release()


def second_key(store: ObjectStore, lease: DriverLease) -> str:
    return next(key for key in store.list("night/drivers") if lease.driver in key)


def test_it_is_renewed_also_while_the_store_fails_now_and_then(
    store: ObjectStore, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_lease, "RENEWAL_INTERVAL", 0.02)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with driving(store) as lease:
        with s3.failing_at_random(0.5):
            time.sleep(0.5)
        assert s3.failed >= 3
        lease.check()
        seen = len(s3.requests)
        time.sleep(0.2)
        renewed = [one for one in s3.requests[seen:] if one.endswith(f"{lease.driver}.json")]
        assert len(renewed) >= 3


def test_only_the_process_that_holds_it_may_write(store: ObjectStore, tmp_path: Path) -> None:
    with held_lease(store, "night", tmp_path):
        lease_on(tmp_path).check()
    with pytest.raises(StorageError, match="must be driven by who writes it; resume the sweep"):
        lease_on(tmp_path)
