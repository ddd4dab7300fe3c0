"""Let one process drive a sweep, among machines that share nothing but an object store.

    NAME/drivers/<random id>.json     host and process of a driver, written again every
                                      ``RENEWAL_INTERVAL`` seconds

S3 has had conditional puts ("put this unless it exists") since 2024, but pyarrow's S3 client, which
we use, does not offer them. So whoever wants to drive first puts an object of its own and then
lists the others. Of two at the same moment at least one sees the other, and who sees one withdraws:
there may be none, but never two. Ages are differences of the store's own clock, so clocks of
machines do not matter.

A driver that has not renewed for ``STALE_AFTER`` seconds is replaced by the next one, at once if it
is a process of this machine that has ended. It notices before it uploads again: whenever its last
renewal is older than ``RECHECK_AFTER`` it looks for others first. What it had already sent may
still arrive; such parts of the ledger are ignored (``hpo.storage.ledger_parts``).
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import StorageError
from hpo.storage.object_store import ObjectStore, ObjectStoreError, StoredObject

DRIVERS = "drivers"
"""The part of a key that makes an object a lease."""
RENEWAL_INTERVAL = 10.0
STALE_AFTER = 60.0
RECHECK_AFTER = 30.0
"""Nobody takes a driver for dead so soon after a renewal, however long that took to arrive."""


class DriverLease:
    """The right of this process to drive one sweep, or one confirmation."""

    def __init__(self, store: ObjectStore, folder: str, name: str) -> None:
        """Prepare to acquire it; nothing is written yet.

        Args:
            store: holds the sweep.
            folder: key of the sweep or confirmation; its drivers are objects below it.
            name: of the sweep, for messages.
        """
        self._store, self._folder, self._name = store, f"{folder}/{DRIVERS}", name
        self.driver = uuid.uuid4().hex
        self._key = f"{self._folder}/{self.driver}.json"
        self._renewed = _Moment()
        self._lost: StorageError | None = None
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, daemon=True)

    def acquire(self) -> None:
        """Become the driver.

        Raises:
            StorageError: another process is.
        """
        _ALIVE.add(self.driver)
        try:
            self._renewed = self._write()
            others = self._others()
        except BaseException:
            self._withdraw()
            raise
        if others:
            self._withdraw()
            raise StorageError(
                f"a sweep has one driver, but another process drives {self._name!r} on "
                f"{others[0]}; wait for it, or end it, or choose another name; one that was killed "
                f"on another machine gives way after {STALE_AFTER:.0f} seconds"
            )
        self._thread.start()

    def check(self) -> None:
        """Make sure that this process still drives, before it uploads.

        Raises:
            StorageError: another one does.
        """
        with self._lock:
            if self._lost is None and self._renewed.seconds_ago() > RECHECK_AFTER:
                self._renew()
            if self._lost is not None:
                raise self._lost

    def release(self) -> None:
        """Let others drive."""
        self._released.set()
        self._thread.join(RENEWAL_INTERVAL)  # it may be waiting for a store that is gone
        self._withdraw()

    def _renew(self) -> None:
        """Write the own object again; after a pause, only if nobody has taken over."""
        before = self._renewed
        if before.seconds_ago() > RECHECK_AFTER and self._store.stat(self._key) is None:
            self._give_up()
            return
        renewed = self._write()
        # The object may have arrived late and counted as stale until then: look once more.
        if before.seconds_ago() > RECHECK_AFTER and self._others():
            self._give_up()
            return
        self._renewed = renewed

    def _write(self) -> _Moment:
        """Write the own object and return when that began: the object is no older."""
        began = _Moment()
        holder = {"host": platform.node(), "pid": os.getpid(), "machine": _machine()}
        self._store.put(self._key, json.dumps(holder).encode())
        return began

    def _give_up(self) -> None:
        self._withdraw()
        self._lost = StorageError(
            f"a sweep has one driver, but another process has taken over {self._name!r} while this "
            "one could not reach its storage; leave it to that one"
        )

    def _withdraw(self) -> None:
        _ALIVE.discard(self.driver)
        # Not worth an error: an object that is left grows stale.
        with contextlib.suppress(ObjectStoreError):
            self._store.delete(self._key)

    def _others(self) -> list[str]:
        """Return the hosts of the other live drivers; delete the objects of dead ones."""
        listed = self._store.list(self._folder)
        own = listed.pop(self._key, None)
        hosts = []
        for key, found in listed.items():
            age = (own.modified - found.modified) / 1e9 if own else 0.0
            host = live_host(self._store, key, age)
            if host is None:
                self._store.delete(key)
            else:
                hosts.append(host)
        return hosts

    def _keep_renewing(self) -> None:
        while not self._released.wait(RENEWAL_INTERVAL):
            # What fails now is tried again later; `check` raises if it still fails then.
            with contextlib.suppress(ObjectStoreError), self._lock:
                if self._lost is None:
                    self._renew()


class _Moment:
    """A moment by both of this machine's clocks."""

    def __init__(self) -> None:
        self._monotonic, self._wall = time.monotonic(), time.time()

    def seconds_ago(self) -> float:
        """Return the longer of both clocks' times: one of them stops while a laptop sleeps."""
        return max(time.monotonic() - self._monotonic, abs(time.time() - self._wall))


_ALIVE: set[str] = set()
"""Ids of the drivers in this process."""
_HELD: dict[Path, DriverLease] = {}
"""Leases by the folder they are for; like a file lock, a lease belongs to the process."""


@contextmanager
def held_lease(store: ObjectStore, key: str, folder: Path) -> Iterator[None]:
    """Be the driver of the sweep or confirmation at ``key`` while the block runs.

    Raises:
        StorageError: another process is.
    """
    lease = DriverLease(store, key, key.split("/", maxsplit=1)[0])
    lease.acquire()
    _HELD[folder] = lease
    try:
        yield
    finally:
        del _HELD[folder]
        lease.release()


def lease_on(folder: Path) -> DriverLease:
    """Return the lease that this process holds on a folder.

    Raises:
        StorageError: it holds none, so it may not write there.
    """
    if folder not in _HELD:
        raise StorageError(f"{folder} must be driven by who writes it; resume the sweep")
    return _HELD[folder]


def is_driven(store: ObjectStore, folder: str) -> bool:
    """Whether any process drives, as far as this machine's clock can tell."""
    listed: dict[str, StoredObject] = store.list(f"{folder}/{DRIVERS}")
    now = time.time_ns()
    return any(
        live_host(store, key, (now - found.modified) / 1e9) is not None
        for key, found in listed.items()
    )


def is_lease(key: str) -> bool:
    """Whether an object is the lease of a driver."""
    return key.split("/")[-2:-1] == [DRIVERS]


def live_host(store: ObjectStore, key: str, age: float) -> str | None:
    """Return the host of a driver that renewed ``age`` seconds ago, or None if it is dead."""
    if age > STALE_AFTER:
        return None
    try:
        holder: dict[str, Any] = json.loads(store.get(key))
    except FileNotFoundError:  # it has ended meanwhile
        return None
    driver = key.rpartition("/")[2].removesuffix(".json")
    return None if _has_ended_here(driver, holder) else str(holder["host"])


def _has_ended_here(driver: str, holder: dict[str, Any]) -> bool:
    """Whether a driver was a process of this machine and has ended."""
    if not holder["machine"] or holder["machine"] != _machine():
        return False
    if holder["pid"] == os.getpid():
        return driver not in _ALIVE
    return not Path(f"/proc/{holder['pid']}").exists()


def _machine() -> str:
    """Identify this boot and its namespace of process ids; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
