"""Mirror an object store in a local folder, by moving files between the two by name.

    CACHE/storages/BUCKET-FINGERPRINT/            the mirror of one address, laid out as a storage
    CACHE/storages/BUCKET-FINGERPRINT/mirror.json that address

All other code reads and writes local files; a mirror uploads them to the store under the same names
and downloads those of others. A local file is up to date if its size and time are the object's.
The store is the truth: a mirror may be deleted at any time. Does not decide what is moved when.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from core.files import exclusive_lock, fingerprint, writable_folder, write_bytes, write_json
from hpo.storage.object_store import ObjectStore, StoredObject, in_parallel

MARK = "mirror.json"
"""The file that makes a folder a mirror."""


@dataclass(frozen=True)
class Mirror:
    """A local folder and the store that it mirrors."""

    folder: Path
    store: ObjectStore

    def key(self, path: Path) -> str:
        """Return the name of a local file in the store."""
        return path.relative_to(self.folder).as_posix()

    def upload(self, path: Path, term: int | None = None) -> None:
        """Copy a local file to the store, over what is there.

        Args:
            path: of the file.
            term: of the driver on whose behalf; then not over what one of a later term has put.

        Raises:
            StorageError: one has.
        """
        key = self.key(path)
        self.store.put_fenced(key, path.read_bytes(), term)
        # With the object's own time the file counts as up to date, and is not downloaded again.
        if (stored := self.store.stat(key)) is not None:
            _set_time(path, stored)

    def download(self, paths: Iterable[Path]) -> None:
        """Download the files that are not up to date; delete those that the store lacks."""
        wanted = list(paths)
        found = self.look_up(wanted)
        found.download()
        for path in wanted:
            if path not in found:
                path.unlink(missing_ok=True)

    def list(self, folder: Path) -> Listing:
        """Return a listing of the store below a local folder."""
        prefix = "" if folder == self.folder else self.key(folder)
        return Listing(self, self.store.list(prefix))

    def look_up(self, paths: Iterable[Path]) -> Listing:
        """Return which of these files the store has; for a few, cheaper than listing a folder."""
        found = {key: self.store.stat(key) for key in map(self.key, paths)}
        return Listing(self, {key: one for key, one in found.items() if one is not None})

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Keep other processes of this machine from downloading the same files meanwhile."""
        return exclusive_lock(self.folder / ".locks" / name)


@dataclass(frozen=True)
class Listing:
    """The files that a store had at one moment, by their local paths."""

    mirror: Mirror
    objects: Mapping[str, StoredObject]
    """By key."""

    def __contains__(self, path: Path) -> bool:
        """Whether the store has this file."""
        return self.mirror.key(path) in self.objects

    @property
    def paths(self) -> list[Path]:
        """The local paths of all files, present there or not."""
        return [self.mirror.folder / key for key in self.objects]

    def below(self, folder: Path) -> Listing:
        """Return the part of the listing below a local folder."""
        start = f"{self.mirror.key(folder)}/"
        return Listing(
            self.mirror,
            {key: found for key, found in self.objects.items() if key.startswith(start)},
        )

    def only(self, paths: Iterable[Path]) -> Listing:
        """Return the listing of these files alone, all of which are in it."""
        return Listing(self.mirror, {key: self.objects[key] for key in map(self.mirror.key, paths)})

    def is_current(self, path: Path) -> bool:
        """Whether the local file is the one that the store has."""
        found = self.objects.get(self.mirror.key(path))
        try:
            state = path.stat()
        except FileNotFoundError:
            return False
        return found is not None and (state.st_size, state.st_mtime_ns) == (
            found.size,
            found.modified,
        )

    def download(self) -> None:
        """Download the files that are not up to date.

        Raises:
            FileNotFoundError: an object was deleted since it was listed.
        """

        def download(key: str) -> None:
            path = self.mirror.folder / key
            write_bytes(path, self.mirror.store.get(key))
            _set_time(path, self.objects[key])

        folder = self.mirror.folder
        in_parallel(download, [key for key in self.objects if not self.is_current(folder / key)])


class MirroredFolder:
    """A folder whose files never change, and are in the store as long as they are here."""

    def __init__(self, mirror: Mirror, folder: Path) -> None:
        """Move nothing yet; ``folder`` lies in ``mirror``."""
        self._mirror, self._folder = mirror, folder
        self._stored: set[Path] = set()

    def download(self) -> None:
        """Download the files that another machine uploaded."""
        listing = self._mirror.list(self._folder)
        listing.download()
        self._stored = set(listing.paths)

    def upload(self) -> None:
        """Upload new files, then delete from the store those that were deleted here."""
        present = set(self._folder.glob("[!.]*"))  # a hidden one is still being written
        for path in present - self._stored:
            self._mirror.store.put(self._mirror.key(path), path.read_bytes())
            self._stored.add(path)
        for path in self._stored - present:
            self._mirror.store.delete(self._mirror.key(path))
        self._stored &= present

    def clear(self) -> None:
        """Delete all that the store has of it."""
        in_parallel(self._mirror.store.delete, self._mirror.list(self._folder).objects)


def mirror_for(store: ObjectStore) -> Mirror:
    """Return the mirror of a store on this machine, a new one if there is none."""
    name = f"{store.bucket}-{fingerprint(store.address)}"
    folder = writable_folder(_cache() / "storages" / name).resolve()
    if not (folder / MARK).exists():
        write_json(folder / MARK, {"address": store.address})
    return Mirror(folder, store)


def mirror_at(folder: Path) -> Mirror | None:
    """Return the mirror that an absolute path is the folder of, or None if it is none."""
    try:
        text = (folder / MARK).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Mirror(folder, ObjectStore.at(json.loads(text)["address"]))


def _cache() -> Path:
    """Return the folder of files that can be made again: ``HPO_CACHE``, or the user's cache."""
    chosen = os.environ.get("HPO_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpo"


def _set_time(path: Path, found: StoredObject) -> None:
    os.utime(path, ns=(found.modified, found.modified))
