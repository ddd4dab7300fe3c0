"""Keep a ledger in an object store as numbered parts, since a store cannot append.

    NAME/ledger/000003-<random id>-000000.jsonl     all lines when the third writer began
    NAME/ledger/000003-<random id>-000001.jsonl     what it appended since, part by part

A new writer uploads all lines so far as the first part of a new generation, then deletes the older
ones. Readers take the newest generation alone, so late uploads of a writer that was replaced are
ignored and cannot spoil the ledger.

Every event is uploaded before anybody is notified of it, except epochs that follow each other
within ``EPOCH_DELAY`` seconds, which wait that long: what an epoch relies on is its checkpoint.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import StorageError
from core.files import write_bytes
from hpo.storage.mirror import Listing, Mirror
from hpo.storage.object_store import in_parallel

EPOCH_DELAY = 2.0
MAX_PARTS = 500
"""Then they are joined to one: a reader that has none needs one request for each."""
_PART = re.compile(r"(\d{6,})-([0-9a-f]{8})-(\d{6,})\.jsonl")


@dataclass(frozen=True, order=True)
class _Part:
    generation: int
    writer: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.generation:06d}-{self.writer}-{self.number:06d}.jsonl"


def download_ledger(ledger: Path, listing: Listing) -> None:
    """Make the local ledger the sum of the store's parts, unless it is ahead of them.

    A ledger that begins with all that was uploaded was written here by a driver that died: what it
    had not uploaded yet is as true.

    Args:
        ledger: the local file.
        listing: of its sweep.

    Raises:
        FileNotFoundError: a part was joined with others since the listing.
    """
    folder = _folder(ledger)
    paths = listing.below(folder).paths
    newest = _newest({path: part for path in paths if (part := _part_of(folder, path))})
    listing.only(newest).download()
    content = b"".join(path.read_bytes() for path in newest)
    present = ledger.read_bytes() if ledger.exists() else b""
    if newest and not present.startswith(content):
        write_bytes(ledger, content)
    for path in folder.glob("*.jsonl"):
        if path not in newest:
            path.unlink(missing_ok=True)
    if not newest:
        ledger.unlink(missing_ok=True)


@contextmanager
def uploaded_ledger(
    mirror: Mirror, ledger: Path, check: Callable[[], None]
) -> Iterator[Callable[[str, bytes], None]]:
    """Upload a ledger while the block runs; see ``LedgerParts`` for arguments and errors.

    Yields:
        ``LedgerParts.append``.
    """
    parts = LedgerParts(mirror, ledger, check)
    try:
        yield parts.append
    except BaseException:
        with contextlib.suppress(StorageError):  # the first error says more
            parts.close()
        raise
    parts.close()


class LedgerParts:
    """Uploads the lines that one driver appends to its ledger."""

    def __init__(self, mirror: Mirror, ledger: Path, check: Callable[[], None]) -> None:
        """Begin a new generation.

        Args:
            mirror: holds ``ledger``.
            ledger: the local file, of whole lines, downloaded before.
            check: raises unless this process still is the driver.
        """
        self._mirror, self._ledger, self._check = mirror, ledger, check
        self._waiting = b""
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._part = self._begin(math.inf)

    def append(self, event: str, line: bytes) -> None:
        """Upload a line that is in the local ledger already; an epoch may wait for others.

        Raises:
            StorageError: the store does not take it, or another process drives the sweep.
        """
        with self._lock:
            self._waiting += line
            # Here only: nobody writes the local file now.
            if self._part.number + 1 >= MAX_PARTS:
                self._part = self._begin(self._part.generation)
                return
            if event == "epoch" and self._timer is not None:
                return
            self._upload()
            if event == "epoch":
                self._timer = threading.Timer(EPOCH_DELAY, self._upload_delayed)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Upload the lines that still wait."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._upload()

    def _upload_delayed(self) -> None:
        # What fails here still waits, and fails again where it is noticed: at the next event.
        with self._lock, contextlib.suppress(StorageError):
            self._timer = None
            self._upload()

    def _upload(self) -> None:
        if not self._waiting:
            return
        self._check()
        # A part whose upload failed may have arrived all the same: its number is used again,
        # for at least as many lines.
        following = replace(self._part, number=self._part.number + 1)
        self._mirror.store.put(self._key(following.name), self._waiting)
        self._part, self._waiting = following, b""

    def _begin(self, newest_known: float) -> _Part:
        """Upload the whole ledger as the first part of a new generation, then delete the others."""
        store, folder = self._mirror.store, _folder(self._ledger)
        older = self._mirror.list(folder)
        known = [part for path in older.paths if (part := _part_of(folder, path))]
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
        in_parallel(store.delete, older.objects)
        return first

    def _key(self, name: str) -> str:
        return self._mirror.key(_folder(self._ledger) / name)


def _folder(ledger: Path) -> Path:
    return ledger.with_suffix("")


def _part_of(folder: Path, path: Path) -> _Part | None:
    match = _PART.fullmatch(path.name) if path.parent == folder else None
    return _Part(int(match[1]), match[2], int(match[3])) if match else None


def _newest(parts: dict[Path, _Part]) -> list[Path]:
    """Return the files of the newest generation that has a first part, in order."""
    begun = [part for part in parts.values() if part.number == 0]
    if not begun:
        return []
    last = max(begun)
    own = [
        (part, path)
        for path, part in parts.items()
        if (part.generation, part.writer) == (last.generation, last.writer)
    ]
    return [path for _, path in sorted(own)]
