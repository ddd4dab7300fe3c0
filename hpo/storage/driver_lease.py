"""Let one process drive a sweep, among machines that share nothing but an object store.

    NAME/drivers/lease.json           term, host and process of the driver, written again every
                                      ``RENEWAL_INTERVAL`` seconds
    NAME/drivers/<random id>.json     of a process that is about to become the driver

Whoever drives has put the lease over the one it had read, and only if nobody else had meanwhile;
each driver has a later term than the one before. A driver that has not renewed for ``STALE_AFTER``
seconds is replaced by the next one, at once if it is a process of this machine that has ended. Ages
are differences of the store's own clock, so clocks of machines do not matter.

What a driver and its workers put is fenced, whenever it arrives: parts of the ledger are put only
where there is nothing (``put_new``), records and students only over what no driver of a later term
has put (``ObjectStore.put_fenced``). So a driver that was cut off overwrites nothing.

A store that does not compare before it puts is recognised by trying. There, of two processes at the
same moment at least one sees the other's object and withdraws, a driver looks before it puts, and
a request that is under way while it is replaced may still overwrite something.
"""

from __future__ import annotations

import contextlib
import json
import logging
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
from hpo.storage.object_store import ChangedError, ObjectStore, ObjectStoreError, Version

DRIVERS = "drivers"
"""The part of a key that makes an object a lease."""
LEASE = "lease.json"
RENEWAL_INTERVAL = 10.0
STALE_AFTER = 60.0
RECHECK_AFTER = 30.0
"""Nobody takes a driver for dead so soon after a renewal, however long that took to arrive."""
UNFENCED = (
    "%s does not compare objects before it replaces them: a driver that is cut off for more than a "
    "minute could still overwrite what the next one writes"
)
logger = logging.getLogger(__name__)


class DriverLease:
    """The right of this process to drive one sweep, or one confirmation."""

    def __init__(self, store: ObjectStore, folder: str, name: str) -> None:
        """Prepare to acquire it; nothing is written yet.

        Args:
            store: holds the sweep.
            folder: key of the sweep or confirmation; its lease is an object below it.
            name: of the sweep, for messages.
        """
        self._store, self._folder, self._name = store, f"{folder}/{DRIVERS}", name
        self._key = f"{self._folder}/{LEASE}"
        self.driver = uuid.uuid4().hex
        self._fenced, self._term = True, 0
        self._version: Version | None = None
        self._renewals = 0
        self._tried: tuple[_Moment, bytes] | None = None
        self._renewed = _Moment()
        self._lost: StorageError | None = None
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, daemon=True)

    @property
    def term(self) -> int | None:
        """Later than that of every driver before; None where the store does not compare."""
        return self._term if self._fenced else None

    def acquire(self) -> None:
        """Become the driver.

        Raises:
            StorageError: another process is.
        """
        _ALIVE.add(self.driver)
        try:
            with self._announced() as now:
                self._take(now)
        except BaseException:
            _ALIVE.discard(self.driver)
            raise
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

    def put_new(self, key: str, content: bytes) -> None:
        """Put an object where there is none, as the driver.

        Raises:
            ChangedError: another process has put one.
            StorageError: another process drives.
        """
        self.check()
        self._store.put_if(key, content, None, self.term)

    def release(self) -> None:
        """Let others drive."""
        self._released.set()
        self._thread.join(RENEWAL_INTERVAL)  # it may be waiting for a store that is gone
        _ALIVE.discard(self.driver)
        # Not deleted, for that could hit the next driver's; a lease that stays grows stale.
        with contextlib.suppress(StorageError):
            content = json.dumps({"term": self._term}).encode()
            self._store.put_if(self._key, content, self._version, self.term)

    @contextmanager
    def _announced(self) -> Iterator[int]:
        """Put an object of its own while the block runs, and yield the store's time.

        Raises:
            StorageError: the store does not compare, and another process has put such an object.
        """
        own = f"{self._folder}/{self.driver}.json"
        try:
            self._fenced = self._store.compares(own)
            listed = self._store.list(self._folder)
            now = listed.pop(own).modified
            if not self._fenced:
                logger.warning(UNFENCED, self._store.address)
                others = [one for key, one in listed.items() if key != self._key]
                if any(_seconds(now, one.modified) <= STALE_AFTER for one in others):
                    raise self._refused(f"is about to drive {self._name!r}")
            yield now
        finally:
            # Not worth an error: an object that is left grows stale.
            with contextlib.suppress(ObjectStoreError):
                self._store.delete(own)

    def _take(self, now: int) -> None:
        """Put the own lease over one that is released or stale, or where there is none."""
        found = self._store.find(self._key)
        holder: dict[str, Any] = {"term": 0} if found is None else json.loads(found.content)
        if found is not None and _is_live(holder, _seconds(now, found.modified)):
            raise self._refused(f"drives {self._name!r} on {holder['host']}")
        self._version = None if found is None else found.version
        self._term = holder["term"] + 1
        self._renew()
        if self._lost is not None:
            raise self._refused(f"has just begun to drive {self._name!r}")

    def _refused(self, why: str) -> StorageError:
        return StorageError(
            f"a sweep has one driver, but another process {why}; wait for it, or end it, or choose "
            "another name; one that was killed on another machine gives way after "
            f"{STALE_AFTER:.0f} seconds"
        )

    def _renew(self) -> None:
        """Write the lease again, unless another process has taken it."""
        # What failed may have arrived all the same: then the same is put again.
        began, content = self._tried = self._tried or (_Moment(), self._content())
        try:
            self._version = self._store.put_if(self._key, content, self._version, self.term)
        except ChangedError:
            self._lost = replaced(self._name)
        else:
            self._renewed, self._tried = began, None  # the object is no older

    def _content(self) -> bytes:
        """Return the lease; no two are the same, so that each has a version of its own."""
        self._renewals += 1
        holder = {"driver": self.driver, "host": platform.node(), "renewals": self._renewals}
        process = {"pid": os.getpid(), "machine": _machine()}
        return json.dumps({"term": self._term, **holder, **process}).encode()

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


def term_on(folder: Path) -> int | None:
    """Return the term of the lease that this process holds on a folder.

    None if it holds none, or where the store does not compare.
    """
    return _HELD[folder].term if folder in _HELD else None


def replaced(name: str) -> StorageError:
    """Return the error of a driver that was replaced.

    Args:
        name: of its sweep, or of the file that another process has put.
    """
    return StorageError(
        f"a sweep has one driver, but another process has taken over {name!r} while this one could "
        "not reach its storage; leave it to that one"
    )


def is_driven(store: ObjectStore, folder: str) -> bool:
    """Whether any process drives, as far as this machine's clock can tell."""
    found = store.find(f"{folder}/{DRIVERS}/{LEASE}")
    return found is not None and _is_live(
        json.loads(found.content), _seconds(time.time_ns(), found.modified)
    )


def is_lease(key: str) -> bool:
    """Whether an object is the lease of a driver."""
    return key.split("/")[-2:-1] == [DRIVERS]


def _seconds(now: int, before: int) -> float:
    return (now - before) / 1e9


def _is_live(holder: dict[str, Any], age: float) -> bool:
    """Whether a lease that was renewed ``age`` seconds ago is held."""
    return "driver" in holder and age <= STALE_AFTER and not _has_ended_here(holder)


def _has_ended_here(holder: dict[str, Any]) -> bool:
    """Whether a driver was a process of this machine and has ended."""
    if not holder["machine"] or holder["machine"] != _machine():
        return False
    if holder["pid"] == os.getpid():
        return holder["driver"] not in _ALIVE
    return not Path(f"/proc/{holder['pid']}").exists()


def _machine() -> str:
    """Identify this boot and its namespace of process ids; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
