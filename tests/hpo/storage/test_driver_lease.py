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
from hpo.storage.object_store import ChangedError, ObjectStore, ObjectStoreError
from tests.integration.sweeps import ROOT
from tests.object_stores import CONDITIONS, Environ, S3Server

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
    assert won == [1] * ROUNDS


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
    assert list(store.list("night/drivers")) == ["night/drivers/lease.json"]
    assert not is_driven(store, "night")
    with driving(store) as lease:
        assert lease.term == 2


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


def test_where_a_store_does_not_compare_one_drives_too_and_that_is_said(
    store: ObjectStore,
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(s3, "compares", False)
    with driving(store) as first:
        assert first.term is None
        assert "does not compare objects before it replaces them" in caplog.text
        first.put_new("night/a", b"1")
        with pytest.raises(ChangedError):
            first.put_new("night/a", b"2")
        with pytest.raises(StorageError, match="another process drives 'night' on"):
            DriverLease(store, "night", "night").acquire()
        with monkeypatch.context() as patch:
            patch.setattr(driver_lease, "STALE_AFTER", -1.0)
            second = DriverLease(store, "night", "night")
            second.acquire()
        monkeypatch.setattr(driver_lease, "RECHECK_AFTER", 0.0)
        with pytest.raises(StorageError, match="has taken over 'night'"):
            first.put_new("night/b", b"1")
        second.put_new("night/b", b"2")
        second.release()


def test_a_store_that_refuses_conditions_does_not_compare(
    store: ObjectStore, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")

    def has_condition(environ: Environ) -> bool:
        return any(name in environ for name in CONDITIONS)

    unknown = s3.failing(has_condition, ("501 Not Implemented", "NotImplemented"))
    with unknown, driving(store) as lease:
        assert lease.term is None
    refused = pytest.raises(ObjectStoreError, match="AccessDenied")
    with s3.failing(has_condition, ("403 Forbidden", "AccessDenied")), refused, driving(store):
        pass


def test_without_comparing_who_announces_itself_last_withdraws(
    store: ObjectStore, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "compares", False)
    store.put("night/drivers/other.json", b"1")
    with pytest.raises(StorageError, match="is about to drive 'night'"):
        DriverLease(store, "night", "night").acquire()
    assert list(store.list("night/drivers")) == ["night/drivers/other.json"]
    monkeypatch.setattr(driver_lease, "STALE_AFTER", -1.0)
    with driving(store):
        pass


def test_a_renewal_whose_answer_got_lost_counts(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = ObjectStore._put
    monkeypatch.setattr(driver_lease, "RECHECK_AFTER", -1.0)
    with driving(store) as lease:

        def put_twice(*arguments: object) -> object:
            put(*arguments)  # type: ignore[arg-type]
            return put(*arguments)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(ObjectStore, "_put", put_twice)
            lease.check()
            lease.put_new("night/a", b"1")
        lease.check()
    assert store.get("night/a") == b"1"


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
        renewed = [one for one in s3.requests[seen:] if one.endswith("lease.json")]
        assert len(renewed) >= 3


def test_only_the_process_that_holds_it_may_write(store: ObjectStore, tmp_path: Path) -> None:
    with held_lease(store, "night", tmp_path):
        lease_on(tmp_path).check()
    with pytest.raises(StorageError, match="must be driven by who writes it; resume the sweep"):
        lease_on(tmp_path)
