"""One driver per sweep, also among machines that share nothing but an object store.

    NAME/drivers/<random id>.json     who drives, put anew every ``RENEWED_EVERY`` seconds

A store cannot say "put this unless it is there", so whoever wants to drive puts an object of its
own first and lists the others then. Of two at the same moment at least one sees the other, and who
sees one withdraws: there may be none, but never two. Ages are differences of the store's own
clock, so clocks of machines do not matter.

A driver that has not renewed for ``STALE_AFTER`` seconds gives way to the next one, at once if it
is a process of this machine that has ended. It finds that out before it publishes again: whenever
its last renewal is older than ``SURE_FOR`` it looks who else is there. What it had already sent
may still arrive; of the ledger such parts are ignored (``hpo.storage.ledger_parts``).
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

RENEWED_EVERY = 10.0
STALE_AFTER = 60.0
SURE_FOR = 30.0
"""Nobody else may take a driver for dead so soon after a renewal, whatever it took to arrive."""


class DriverLease:
    """The right of this process to drive one sweep, or one confirmation."""

    def __init__(self, store: ObjectStore, folder: str, name: str) -> None:
        """Claim nothing yet.

        Args:
            store: holds the sweep.
            folder: the sweep's key; drivers stand below it.
            name: the sweep's, for messages.
        """
        self._store, self._folder, self._name = store, f"{folder}/drivers", name
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
            StorageError: there is one.
        """
        _LIVING.add(self.driver)
        try:
            self._renewed = self._put()
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
        """Make sure that this process still drives, before it publishes.

        Raises:
            StorageError: another one does.
        """
        with self._lock:
            if self._lost is None and self._renewed.seconds_ago() > SURE_FOR:
                self._renew()
            if self._lost is not None:
                raise self._lost

    def release(self) -> None:
        """Let others drive."""
        self._released.set()
        self._thread.join(RENEWED_EVERY)  # it may be waiting for a store that is gone
        self._withdraw()

    def _renew(self) -> None:
        """Put the own object anew; after a pause, only if nobody has taken over."""
        before = self._renewed
        if before.seconds_ago() > SURE_FOR and self._store.look(self._key) is None:
            self._give_up()
            return
        renewed = self._put()
        # The object may have arrived late, and be taken for dead until then: look once more.
        if before.seconds_ago() > SURE_FOR and self._others():
            self._give_up()
            return
        self._renewed = renewed

    def _put(self) -> _Moment:
        """Put the own object and return when that began: it is no older than that."""
        began = _Moment()
        whom = {"host": platform.node(), "pid": os.getpid(), "machine": _machine()}
        self._store.put(self._key, json.dumps(whom).encode())
        return began

    def _give_up(self) -> None:
        self._withdraw()
        self._lost = StorageError(
            f"a sweep has one driver, but another process has taken over {self._name!r} while this "
            "one could not reach its storage; leave it to that one"
        )

    def _withdraw(self) -> None:
        _LIVING.discard(self.driver)
        # Not worth an error: an object that stays grows stale.
        with contextlib.suppress(ObjectStoreError):
            self._store.delete(self._key)

    def _others(self) -> list[str]:
        """Return the hosts of the other drivers that live; forget those that do not."""
        listed = self._store.list(self._folder)
        own = listed.pop(self._key, None)
        living = []
        for key, found in listed.items():
            age = (own.modified - found.modified) / 1e9 if own else 0.0
            host = living_host(self._store, key, age)
            if host is None:
                self._store.delete(key)
            else:
                living.append(host)
        return living

    def _keep_renewing(self) -> None:
        while not self._released.wait(RENEWED_EVERY):
            # What fails now is tried again; whoever publishes then notices for good.
            with contextlib.suppress(ObjectStoreError), self._lock:
                if self._lost is None:
                    self._renew()


class _Moment:
    """A time on this machine's clocks."""

    def __init__(self) -> None:
        self._monotonic, self._wall = time.monotonic(), time.time()

    def seconds_ago(self) -> float:
        """Return the longer of what two clocks say: one stands still while a laptop sleeps."""
        return max(time.monotonic() - self._monotonic, abs(time.time() - self._wall))


_LIVING: set[str] = set()
"""The drivers of this process."""
_HELD: dict[Path, DriverLease] = {}
"""Of this process, by the folder that it drives; like a file lock, it is the process's."""


@contextmanager
def held_lease(store: ObjectStore, key: str, folder: Path) -> Iterator[None]:
    """Be the driver of the sweep or confirmation at ``key`` while the block runs."""
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
    """Whether a process drives, as far as this machine's clock can tell."""
    listed: dict[str, StoredObject] = store.list(f"{folder}/drivers")
    now = time.time_ns()
    return any(
        living_host(store, key, (now - found.modified) / 1e9) is not None
        for key, found in listed.items()
    )


def living_host(store: ObjectStore, key: str, age: float) -> str | None:
    """Return the host of a driver that renewed ``age`` seconds ago, or None if it is dead."""
    if age > STALE_AFTER:
        return None
    try:
        whom: dict[str, Any] = json.loads(store.get(key))
    except FileNotFoundError:  # it has ended meanwhile
        return None
    driver = key.rpartition("/")[2].removesuffix(".json")
    return None if _is_ended_here(driver, whom) else str(whom["host"])


def _is_ended_here(driver: str, whom: dict[str, Any]) -> bool:
    """Whether a driver was of this machine and is no more."""
    if not whom["machine"] or whom["machine"] != _machine():
        return False
    if whom["pid"] == os.getpid():
        return driver not in _LIVING
    return not Path(f"/proc/{whom['pid']}").exists()


def _machine() -> str:
    """Identify this machine's present run and who shares its process ids; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
