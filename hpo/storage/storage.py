"""Share the files of one storage among machines, on a folder or in an object store.

The rest of ``hpo`` reads and writes local files, and asks the storage of that folder to share them
(``upload``) or to fetch those of others (``download``, ``sync``). ``Storage`` is a folder that
all machines share, so there most methods do nothing; ``MirroredStorage`` moves files between a
folder and an object store, and there too lets only one driver write. This is the one module of
its room that others import. Knows no sweep: which files are moved when is for ``hpo.records``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hpo.storage import driver_lease, ledger_parts
from hpo.storage.driver_lease import DRIVERS
from hpo.storage.mirror import Listing, Mirror, MirroredFolder, mirror_at, mirror_for
from hpo.storage.object_store import ChangedError, ObjectStore, ObjectStoreError, in_parallel

__all__ = [
    "DRIVERS",
    "Listing",
    "MirroredStorage",
    "ObjectStoreError",
    "Storage",
    "SyncedFolder",
    "open_storage",
    "path_at",
    "storage_at",
    "term_at",
]

LISTINGS = 5
"""Attempts to download what is listed before somebody deletes it, as drivers do with parts of
ledgers."""

OnWritten = Callable[[str, bytes], None]
"""Takes the kind and the line of an event that a ledger file has just got."""


class SharedFolder:
    """A folder whose files one machine writes and another may go on with: all see it anyway."""

    def download(self) -> None:
        """Download the files that another machine uploaded."""

    def upload(self) -> None:
        """Upload new files, then delete for others those that were deleted here."""

    def clear(self) -> None:
        """Delete for others all files of the folder, not those that are here."""


SyncedFolder = SharedFolder | MirroredFolder


@dataclass(frozen=True)
class Storage:
    """A folder of sweeps and teachers that all machines share, so that little is to be done.

    In an object store, where ``MirroredStorage`` does what is said here, all methods that reach it
    raise ``ObjectStoreError`` where it fails.
    """

    folder: Path
    """Where its files are read and written on this machine."""

    @property
    def address(self) -> str:
        """The storage as the user names it."""
        return str(self.folder)

    @property
    def poll_seconds(self) -> float:
        """How long to wait before looking again for changes by others."""
        return 1.0

    def address_of(self, path: Path) -> str:
        """Return the text by which ``path_at`` finds a file or folder on any machine.

        Of a folder that this process drives it also holds which driver that is.
        """
        return str(path)

    def exists(self, path: Path) -> bool:
        """Whether a file is where all machines find it."""
        return path.is_file()

    def names_in(self, folder: Path) -> set[str]:
        """Return the names of the files and folders in a folder, of all machines."""
        return {path.name for path in folder.glob("*")}

    def upload(self, path: Path, term: int | None = None) -> None:
        """Let others find a file that was written here.

        Args:
            path: of the file.
            term: in the ``address_of`` the driver for whom it was written (``term_at``), if any.

        Raises:
            StorageError: another process has taken over from that driver, and put this file.
        """

    def upload_missing(self, path: Path) -> None:
        """Let others find a file unless they do already."""

    def publish(self, folder: Path, path: Path) -> None:
        """Let others find a file that this process has written as the driver of a folder.

        Raises:
            StorageError: it is not, or no longer.
        """

    def download(self, paths: Iterable[Path]) -> None:
        """Replace these files by those that others uploaded; delete files that nobody uploaded."""

    def delete(self, path: Path) -> None:
        """Delete a file, if there is one, here and for others."""
        path.unlink(missing_ok=True)

    def sync(self, folder: Path, work: Callable[[Listing], object]) -> None:
        """Let ``work`` download what is needed of a folder that others write.

        Args:
            folder: a folder below the storage, or the storage's own.
            work: gets a listing of what others uploaded below ``folder``; called again with a new
                one where a file was deleted since, and not at all where nothing is ever downloaded.
        """

    def sync_files(self, paths: Iterable[Path], work: Callable[[Listing], object]) -> None:
        """Do as ``sync`` for a few files, whose names are known."""

    def synced_folder(self, folder: Path) -> SyncedFolder:
        """Return a folder that is uploaded and downloaded as a whole."""
        return SharedFolder()

    def clear_folder(self, folder: Path, last: Path) -> None:
        """Delete for others all files of a folder that this process drives, ``last`` last.

        What is here stays, and so do the leases of drivers.
        """

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Keep other processes of this machine from downloading while the block runs."""
        return nullcontext()

    def driver_lease(self, folder: Path) -> AbstractContextManager[None]:
        """Be the one driver of a folder among all machines while the block runs.

        Where all machines share the folder itself, that is for the caller's lock file.

        Raises:
            StorageError: another process is.
        """
        return nullcontext()

    def is_driven(self, folder: Path) -> bool:
        """Whether any process holds a ``driver_lease`` on a folder."""
        return False

    def ledger_upload(self, ledger: Path) -> AbstractContextManager[OnWritten]:
        """Yield a function to call with every line that this driver appends to its ledger.

        Raises:
            StorageError: the last lines could not be uploaded.
        """
        return nullcontext(lambda *_: None)

    def download_ledger(self, ledger: Path, listing: Listing) -> None:
        """Replace a ledger by the one that its driver uploaded, unless it is ahead of that.

        Args:
            ledger: the local file.
            listing: of its folder.
        """


@dataclass(frozen=True)
class MirroredStorage(Storage):
    """An object store, and the folder of this machine that mirrors it."""

    mirror: Mirror

    @property
    def poll_seconds(self) -> float:
        """Return more: a look takes several requests."""
        return 5.0

    @property
    def address(self) -> str:
        """The store's address."""
        return self.mirror.store.address

    def address_of(self, path: Path) -> str:
        """Return the store's address, the path's key and the term of a lease held on it."""
        term = driver_lease.term_on(path)
        return f"{self.address}#{self.mirror.key(path)}" + ("" if term is None else f"#{term}")

    def exists(self, path: Path) -> bool:
        """Whether the store has the file, wherever it was written."""
        return path in self.mirror.look_up([path])

    def names_in(self, folder: Path) -> set[str]:
        """Return the names in the folder, here or in the store."""
        stored = self.mirror.list(folder).paths
        here = {path.name for path in folder.glob("*")}
        return here | {path.relative_to(folder).parts[0] for path in stored}

    def upload(self, path: Path, term: int | None = None) -> None:
        """Copy a file to the store."""
        try:
            self.mirror.upload(path, term)
        except ChangedError as error:
            raise driver_lease.replaced(self.mirror.key(path)) from error

    def upload_missing(self, path: Path) -> None:
        """Copy a file to the store if it lacks it."""
        if not self.exists(path):
            self.mirror.upload(path)

    def download(self, paths: Iterable[Path]) -> None:
        """Replace local files by those of the store."""
        self.mirror.download(paths)

    def delete(self, path: Path) -> None:
        """Delete a file here and from the store."""
        path.unlink(missing_ok=True)
        self.mirror.store.delete(self.mirror.key(path))

    def sync(self, folder: Path, work: Callable[[Listing], object]) -> None:
        """List a folder and let ``work`` download of it."""
        _with_fresh_listing(lambda: self.mirror.list(folder), work)

    def sync_files(self, paths: Iterable[Path], work: Callable[[Listing], object]) -> None:
        """Look some files up and let ``work`` download them."""
        wanted = list(paths)
        _with_fresh_listing(lambda: self.mirror.look_up(wanted), work)

    def synced_folder(self, folder: Path) -> SyncedFolder:
        """Return a folder that lies in the store as well."""
        return MirroredFolder(self.mirror, folder)

    def clear_folder(self, folder: Path, last: Path) -> None:
        """Delete all that the store has of a folder."""
        stored = self.mirror.list(folder).objects
        last_key = self.mirror.key(last)
        deleted = [key for key in stored if key != last_key and not driver_lease.is_lease(key)]
        in_parallel(self.mirror.store.delete, deleted)
        self.mirror.store.delete(last_key)

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Lock the downloads of this name."""
        return self.mirror.lock(name)

    def driver_lease(self, folder: Path) -> AbstractContextManager[None]:
        """Hold a lease in the store."""
        return driver_lease.held_lease(self.mirror.store, self.mirror.key(folder), folder)

    def publish(self, folder: Path, path: Path) -> None:
        """Renew the lease if it is old, then copy the file to the store."""
        driver_lease.lease_on(folder).check()
        self.upload(path, driver_lease.term_on(folder))

    def is_driven(self, folder: Path) -> bool:
        """Look for a lease that was renewed lately."""
        return driver_lease.is_driven(self.mirror.store, self.mirror.key(folder))

    @contextmanager
    def ledger_upload(self, ledger: Path) -> Iterator[OnWritten]:
        """Upload a ledger in parts, as the holder of the lease on its folder."""
        lease = driver_lease.lease_on(ledger.parent)
        with ledger_parts.uploaded_ledger(self.mirror, ledger, lease) as on_written:
            yield on_written

    def download_ledger(self, ledger: Path, listing: Listing) -> None:
        """Join the parts of a ledger."""
        ledger_parts.download_ledger(ledger, listing)


def open_storage(text: str | Path) -> Path:
    """Return the folder that stands for a storage: itself, or the mirror of an address.

    Raises:
        ConfigError: an address that cannot be read.
        ObjectStoreError: its bucket cannot be reached.
    """
    if "://" not in str(text):
        return Path(text)
    store = ObjectStore.at(str(text))
    store.check()
    return mirror_for(store).folder


def storage_at(folder: Path) -> Storage:
    """Return the storage whose files lie in ``folder``, which ``open_storage`` returned."""
    mirror = _known_mirror(folder.absolute())
    return Storage(folder) if mirror is None else MirroredStorage(mirror.folder, mirror)


def path_at(address: str) -> Path:
    """Return the local path of a ``Storage.address_of``, made on any machine."""
    storage, _, key = address.partition("#")
    if "://" not in storage:
        return Path(address)
    return mirror_for(ObjectStore.at(storage)).folder / key.partition("#")[0]


def term_at(address: str) -> int | None:
    """Return which driver a ``Storage.address_of`` names, where files are guarded by that."""
    found = re.fullmatch(r"\w+://[^#]+#[^#]+#(\d+)", address)
    return int(found[1]) if found else None


@lru_cache(maxsize=64)
def _known_mirror(folder: Path) -> Mirror | None:
    return mirror_at(folder)


def _with_fresh_listing(listed: Callable[[], Listing], work: Callable[[Listing], object]) -> None:
    """Call ``work`` again with a new listing where an object was deleted since the last."""
    for _ in range(LISTINGS - 1):
        try:
            work(listed())
        except FileNotFoundError:
            continue
        return
    work(listed())
