"""An ``s3://`` storage in, a local folder to work in out; files move between the two by name.

    CACHE/storages/BUCKET-FINGERPRINT/            the mirror of one address, laid out as a storage
    CACHE/storages/BUCKET-FINGERPRINT/mirror.json that address

All other code reads and writes local files; this module puts them into the store under the same
names and brings what others have put there. A local file is the store's if size and time agree.
The store is the truth: a mirror may be deleted at any time. What is to be moved when is decided
in ``hpo.records.sweep_sync`` and ``hpo.records.teacher_sync``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.files import exclusive_lock, fingerprint, writable_folder, write_bytes, write_json
from hpo.storage.object_store import ObjectStore, StoredObject, side_by_side

MARK = "mirror.json"


@dataclass(frozen=True)
class Mirror:
    """A local folder and the store that it mirrors."""

    folder: Path
    store: ObjectStore

    def key(self, path: Path) -> str:
        """Return the name of a local file in the store."""
        return path.relative_to(self.folder).as_posix()

    def publish(self, path: Path) -> None:
        """Put a local file into the store, over what is there."""
        key = self.key(path)
        self.store.put(key, path.read_bytes())
        # Known from now on as the store's own, so that nobody here brings it again.
        if (stored := self.store.look(key)) is not None:
            _set_time(path, stored)

    def bring(self, keys: Iterable[str]) -> None:
        """Bring these objects where the local files are not them; no object, no local file."""
        wanted = {key: self.store.look(key) for key in keys}
        self.bring_listed({key: found for key, found in wanted.items() if found is not None})
        for key, found in wanted.items():
            if found is None:
                (self.folder / key).unlink(missing_ok=True)

    def bring_listed(self, listed: Mapping[str, StoredObject]) -> None:
        """Bring what a listing names, where the local files are not that.

        Raises:
            FileNotFoundError: an object was deleted since it was listed.
        """

        def bring(key: str) -> None:
            write_bytes(self.folder / key, self.store.get(key))
            _set_time(self.folder / key, listed[key])

        side_by_side(bring, [key for key, found in listed.items() if not self.has(key, found)])

    def has(self, key: str, found: StoredObject) -> bool:
        """Whether the local file is this object."""
        try:
            state = (self.folder / key).stat()
        except FileNotFoundError:
            return False
        return (state.st_size, state.st_mtime_ns) == (found.size, found.modified)

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Keep other processes of this machine from bringing the same files meanwhile."""
        return exclusive_lock(self.folder / ".locks" / name)


class MirroredStates:
    """A folder of checkpoints whose newest are in the store as well."""

    def __init__(self, mirror: Mirror, folder: Path) -> None:
        """Bring nothing yet; ``folder`` lies in ``mirror``."""
        self._mirror, self._folder = mirror, folder
        self._there: set[str] = set()

    def bring(self) -> None:
        """Bring what another machine left."""
        listed = self._mirror.store.list(self._mirror.key(self._folder))
        self._mirror.bring_listed(listed)
        self._there = set(listed)

    def publish(self) -> None:
        """Put what is new, then delete what is no longer kept here."""
        here = {self._mirror.key(path): path for path in self._folder.glob("epoch-*")}
        for key in here.keys() - self._there:
            self._mirror.store.put(key, here[key].read_bytes())
            self._there.add(key)
        for key in self._there - here.keys():
            self._mirror.store.delete(key)
        self._there &= here.keys()

    def clear(self) -> None:
        """Delete all that the store has: the run is over."""
        side_by_side(
            self._mirror.store.delete, self._mirror.store.list(self._mirror.key(self._folder))
        )


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
    return _mirror_folder(store)


def open_mirror(address: str) -> Path:
    """Return the mirror of an address that another process has checked."""
    return _mirror_folder(ObjectStore.at(address))


def mirror_of(storage: Path) -> Mirror | None:
    """Return the mirror that a storage's folder is, or None: then it is the storage itself."""
    return _mirror_at(storage.absolute())


@lru_cache(maxsize=64)
def _mirror_at(storage: Path) -> Mirror | None:
    try:
        text = (storage / MARK).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Mirror(storage, ObjectStore.at(json.loads(text)["address"]))


def _mirror_folder(store: ObjectStore) -> Path:
    name = f"{store.bucket}-{fingerprint(store.address)}"
    folder = writable_folder(_cache() / "storages" / name).resolve()
    if not (folder / MARK).exists():
        write_json(folder / MARK, {"address": store.address})
    return folder


def _cache() -> Path:
    """Return the folder of what can be had again: ``HPO_CACHE``, or the user's own cache."""
    said = os.environ.get("HPO_CACHE")
    if said:
        return Path(said)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpo"


def _set_time(path: Path, found: StoredObject) -> None:
    os.utime(path, ns=(found.modified, found.modified))
