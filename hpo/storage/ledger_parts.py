"""A ledger's lines in, numbered objects out, since a store cannot append; and the ledger back.

    NAME/ledger/000003-<random id>-000000.jsonl     all lines when the third writer began
    NAME/ledger/000003-<random id>-000001.jsonl     what it appended since, part by part

Who begins to write puts all lines so far as the first part of a new generation, and deletes the
older ones. Readers take the newest generation alone, so what a writer that lost its place sends
late is ignored and cannot spoil the ledger.

Every event is put before anybody hears of it, but for epochs that follow each other within
``GATHERED_FOR`` seconds: those wait that long. What an epoch left behind is its checkpoint.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import StorageError
from core.files import write_bytes
from hpo.storage.mirror import Mirror
from hpo.storage.object_store import StoredObject, side_by_side

GATHERED_FOR = 2.0
MOST_PARTS = 500
"""Then they are put together: a reader that has none takes one request for each."""
_PART = re.compile(r"(\d{6,})-([0-9a-f]{8})-(\d{6,})\.jsonl")


@dataclass(frozen=True, order=True)
class _Part:
    generation: int
    writer: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.generation:06d}-{self.writer}-{self.number:06d}.jsonl"


def bring_ledger(mirror: Mirror, ledger: Path, listed: dict[str, StoredObject]) -> None:
    """Make the local ledger what the store's parts say, if it is not ahead of them.

    A ledger that begins with all that was put was written here by a driver that died: what it had
    not put yet is as true.

    Args:
        mirror: holds ``ledger``.
        ledger: the local file.
        listed: the objects of its sweep.

    Raises:
        FileNotFoundError: a part was put together with others since the listing.
    """
    folder = _folder(ledger)
    parts = {key: part for key in listed if (part := _part_of(mirror, folder, key))}
    newest = _newest(parts)
    mirror.bring_listed({key: listed[key] for key in newest})
    content = b"".join((mirror.folder / key).read_bytes() for key in newest)
    present = ledger.read_bytes() if ledger.exists() else b""
    if newest and not present.startswith(content):
        write_bytes(ledger, content)
    for path in folder.glob("*.jsonl"):
        if mirror.key(path) not in newest:
            path.unlink(missing_ok=True)
    if not newest:
        ledger.unlink(missing_ok=True)


class LedgerSegments:
    """Puts what one driver appends to its ledger."""

    def __init__(self, mirror: Mirror, ledger: Path, check: Callable[[], None]) -> None:
        """Begin a new generation.

        Args:
            mirror: holds ``ledger``.
            ledger: the local file, of whole lines, brought before.
            check: raises unless this process still is the driver.
        """
        self._mirror, self._ledger, self._check = mirror, ledger, check
        self._waiting = b""
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._part = self._begin(math.inf)

    def append(self, event: str, line: bytes) -> None:
        """Put a line that stands in the local ledger already; an epoch may wait for others.

        Raises:
            StorageError: the store does not take it, or another process drives the sweep.
        """
        with self._lock:
            self._waiting += line
            # Here only: nobody writes the local file now.
            if self._part.number + 1 >= MOST_PARTS:
                self._part = self._begin(self._part.generation)
                return
            if event == "epoch" and self._timer is not None:
                return
            self._put()
            if event == "epoch":
                self._timer = threading.Timer(GATHERED_FOR, self._put_gathered)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Put what still waits."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._put()

    def _put_gathered(self) -> None:
        # What fails here still waits, and fails once more where it is noticed: at the next event.
        with self._lock, contextlib.suppress(StorageError):
            self._timer = None
            self._put()

    def _put(self) -> None:
        if not self._waiting:
            return
        self._check()
        # A part that failed may have arrived all the same: its number is used again, for at
        # least as many lines.
        following = replace(self._part, number=self._part.number + 1)
        self._mirror.store.put(self._key(following.name), self._waiting)
        self._part, self._waiting = following, b""

    def _begin(self, newest_known: float) -> _Part:
        """Put the whole ledger as the first part of a new generation; only then go the others."""
        store, folder = self._mirror.store, _folder(self._ledger)
        older = store.list(self._mirror.key(folder))
        known = [part for key in older if (part := _part_of(self._mirror, folder, key))]
        newest = max((part.generation for part in known), default=0)
        if newest > newest_known:
            raise StorageError(
                f"the ledger {self._ledger} must have one writer, but another process has begun to "
                "write it; leave the sweep to that one"
            )
        first = _Part(newest + 1, uuid.uuid4().hex[:8], 0)
        content = self._ledger.read_bytes()
        self._check()
        store.put(self._key(first.name), content)
        self._waiting = b""
        side_by_side(store.delete, older)
        return first

    def _key(self, name: str) -> str:
        return self._mirror.key(_folder(self._ledger) / name)


def _folder(ledger: Path) -> Path:
    return ledger.with_suffix("")


def _part_of(mirror: Mirror, folder: Path, key: str) -> _Part | None:
    path = mirror.folder / key
    match = _PART.fullmatch(path.name) if path.parent == folder else None
    return _Part(int(match[1]), match[2], int(match[3])) if match else None


def _newest(parts: dict[str, _Part]) -> list[str]:
    """Return the keys of the newest generation that is begun, in order."""
    begun = [part for part in parts.values() if part.number == 0]
    if not begun:
        return []
    last = max(begun)
    own = [
        (part, key)
        for key, part in parts.items()
        if (part.generation, part.writer) == (last.generation, last.writer)
    ]
    return [key for _, key in sorted(own)]
