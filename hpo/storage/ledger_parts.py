"""Keep a ledger in an object store as numbered parts, since a store cannot append.

    NAME/ledger/000041.jsonl          one or more events
    NAME/ledger/000040-whole.jsonl    all events up to number 40

A part is put only where there is none (``hpo.storage.driver_lease``). Each writer begins by taking
the next number with an empty part, which is never deleted: a writer that was replaced finds its
next number taken, so what it still writes does not count, and it is not told that it does. Then the
new writer puts all events so far into one object and deletes the parts before; readers take the
newest whole one and the parts that follow it without a gap.

Every event is uploaded before anybody is notified of it, except epochs that follow each other
within ``EPOCH_DELAY`` seconds, which wait that long: what an epoch relies on is its checkpoint.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.errors import StorageError
from core.files import write_bytes
from hpo.storage.driver_lease import DriverLease
from hpo.storage.mirror import Listing, Mirror
from hpo.storage.object_store import ChangedError, in_parallel

EPOCH_DELAY = 2.0
MAX_PARTS = 500
"""Then they are joined to one: a reader that has none needs one request for each."""
_WHOLE = "-whole"
_PART = re.compile(r"(\d{6,})(?:-whole)?\.jsonl")
_OLDER = re.compile(r"(\d{6,})-([0-9a-f]{8})-(\d{6,})\.jsonl")
"""A part as earlier versions named it: generation, writer, number."""


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
    newest = _newest(listing.below(folder).paths)
    content = _downloaded(listing, newest)
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
    mirror: Mirror, ledger: Path, lease: DriverLease
) -> Iterator[Callable[[str, bytes], None]]:
    """Upload a ledger while the block runs; see ``LedgerParts`` for arguments and errors.

    Yields:
        ``LedgerParts.append``.
    """
    parts = LedgerParts(mirror, ledger, lease)
    try:
        yield parts.append
    except BaseException:
        with contextlib.suppress(StorageError):  # the first error says more
            parts.close()
        raise
    parts.close()


class LedgerParts:
    """Uploads the lines that one driver appends to its ledger."""

    def __init__(self, mirror: Mirror, ledger: Path, lease: DriverLease) -> None:
        """Cut off the writer before, and upload the whole ledger.

        Args:
            mirror: holds ``ledger``.
            ledger: the local file, of whole lines, downloaded before.
            lease: on the sweep.

        Raises:
            StorageError: the writer before has written since the download.
        """
        self._mirror, self._ledger, self._lease = mirror, ledger, lease
        self._waiting = self._tried = b""
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._number = self._joined = self._cut_off()
        self._upload()
        if ledger.stat().st_size:
            self._join()

    def append(self, event: str, line: bytes) -> None:
        """Upload a line that is in the local ledger already; an epoch may wait for others.

        Raises:
            StorageError: the store does not take it, or another process drives the sweep.
        """
        with self._lock:
            self._waiting += line
            if event == "epoch" and self._timer is not None:
                return
            self._upload()
            if self._number - self._joined >= MAX_PARTS:
                self._join()
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

    def _cut_off(self) -> int:
        """Take the next number from the writer before; what it has not uploaded waits from now."""
        older = self._mirror.list(_folder(self._ledger))
        uploaded = _downloaded(older, _newest(older.paths))
        whole = self._ledger.read_bytes()
        number = max(map(_number, older.paths), default=-1) + 1
        try:
            self._lease.put_new(self._key(f"{number:06d}"), b"")
            grown = not whole.startswith(uploaded)
        except ChangedError:
            grown = True
        if grown:
            raise StorageError(
                f"the ledger {self._ledger} must be all that was uploaded, but another process has "
                "written more meanwhile; give the same command again"
            )
        self._waiting = whole[len(uploaded) :]
        return number

    def _upload(self) -> None:
        while self._waiting:
            # What failed may have arrived all the same: the same bytes are put again.
            self._tried = self._tried or self._waiting
            self._put(f"{self._number + 1:06d}", self._tried)
            self._number += 1
            self._waiting, self._tried = self._waiting[len(self._tried) :], b""

    def _join(self) -> None:
        """Upload the whole ledger, of which nothing waits, then delete the parts it is made of."""
        self._put(f"{self._number:06d}-whole", self._ledger.read_bytes())
        self._joined = self._number
        listed = self._mirror.list(_folder(self._ledger))
        kept = {self._mirror.key(path) for path in _newest(listed.paths)}
        unused = {key for key, found in listed.objects.items() if found.size} - kept
        in_parallel(self._mirror.store.delete, unused)

    def _put(self, name: str, content: bytes) -> None:
        try:
            self._lease.put_new(self._key(name), content)
        except ChangedError as error:
            raise StorageError(
                f"the ledger {self._ledger} must have one writer, but another process has begun to "
                "write it; leave the sweep to that one"
            ) from error

    def _key(self, name: str) -> str:
        return self._mirror.key(_folder(self._ledger) / f"{name}.jsonl")


def _folder(ledger: Path) -> Path:
    return ledger.with_suffix("")


def _downloaded(listing: Listing, parts: Sequence[Path]) -> bytes:
    listing.only(parts).download()
    return b"".join(path.read_bytes() for path in parts)


def _number(path: Path) -> int:
    """Return the number of a part, or of the last part of a whole ledger; -1 of anything else."""
    match = _PART.fullmatch(path.name)
    return int(match[1]) if match else -1


def _newest(paths: Sequence[Path]) -> list[Path]:
    """Return the newest whole ledger and the parts that follow it without a gap, in order."""
    numbers = {_number(path): path for path in paths if not path.stem.endswith(_WHOLE)}
    wholes = [path for path in paths if path.stem.endswith(_WHOLE) and _number(path) >= 0]
    found = [max(wholes, key=_number)] if wholes else []
    known = numbers.keys() - {-1}
    following = _number(found[0]) + 1 if found else min(known, default=0)
    if not found and not known:
        return _newest_generation(paths)
    while following in known:
        found.append(numbers[following])
        following += 1
    return found


def _newest_generation(paths: Sequence[Path]) -> list[Path]:
    """Return what ``_newest`` does, of a ledger that only earlier versions have written."""
    parts = {path: match.groups() for path in paths if (match := _OLDER.fullmatch(path.name))}
    begun = [part for part in parts.values() if int(part[2]) == 0]
    if not begun:
        return []
    generation, writer, _ = max(begun, key=lambda part: (int(part[0]), part[1]))
    own = [path for path, part in parts.items() if part[:2] == (generation, writer)]
    return sorted(own, key=lambda path: int(parts[path][2]))
