"""Write files into one archive and read them back safely: a ``.tar.gz`` that lists what it holds.

    archive.json     names, sizes and SHA-256 of all files, and what else the writer has to say
    night/sweep.json, ...

Any program reads it. Ours unpacks only what the list announces, under plain relative names, and
checks every byte. Knows no sweep.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from core.errors import StorageError
from core.files import file_written_aside, sha256_of_file

LIST = "archive.json"
KIND, VERSION = "stgcn-student-search sweep", 1
LONGEST_LIST = 64 * 2**20
"""Bytes; a sweep of 100,000 trials needs less."""
_BLOCK = 2**20
_PART = re.compile(r"[^\x00-\x1f/\\.][^\x00-\x1f/\\]*")
"""Of a path: nothing hidden, and so neither ``.`` nor ``..``."""
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class Contents:
    """The list at the beginning of an archive."""

    files: dict[str, tuple[int, str]]
    """Bytes and SHA-256 by name, as in ``night/results/0007.parquet``."""
    notes: dict[str, Any]
    """What the writer said."""


def write_archive(path: Path, files: Mapping[str, Path], notes: dict[str, Any]) -> None:
    """Write files into a new archive, which has its name once it is whole.

    Args:
        path: of the archive.
        files: by their names in it.
        notes: JSON-able, for the reader.

    Raises:
        OSError: a file cannot be read, or the archive not be written.
    """
    listed = {
        name: (file.stat().st_size, sha256_of_file(file)) for name, file in sorted(files.items())
    }
    text = json.dumps({"kind": KIND, "version": VERSION, "notes": notes, "files": listed}, indent=1)
    with (
        file_written_aside(path) as stream,
        tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as archive,
    ):
        archive.addfile(_member(LIST, len(text.encode())), io.BytesIO(text.encode()))
        for name, (size, _) in listed.items():
            with files[name].open("rb") as content:
                archive.addfile(_member(name, size), content)


def read_archive(path: Path, folder: Path | None = None) -> Contents:
    """Check every byte of an archive, and write its files below ``folder`` if one is given.

    Raises:
        StorageError: it is none, is damaged or incomplete, or holds something that it does not
            list: a link, a path that leads outside. ``folder`` may hold some of its files then.
        OSError: the disk fails.
    """
    try:
        with _opened(path) as archive:
            contents = _read_list(archive)
            missing = set(contents.files)
            while (member := archive.next()) is not None:
                _unpack(archive, member, contents, missing, folder)
    except FileNotFoundError as error:
        raise StorageError(f"an archive must be a file, but there is none at {path}") from error
    except _DAMAGED as error:
        raise _refused(path, str(error)) from error
    if missing:
        raise _refused(path, f"{min(missing)!r} is missing")
    return contents


def read_contents(path: Path) -> Contents:
    """Read the list of an archive alone; errors are those of ``read_archive``."""
    try:
        with _opened(path) as archive:
            return _read_list(archive)
    except FileNotFoundError as error:
        raise StorageError(f"an archive must be a file, but there is none at {path}") from error
    except _DAMAGED as error:
        raise _refused(path, str(error)) from error


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    # As a stream: nothing in the file can say where to read next.
    with path.open("rb") as stream, tarfile.open(fileobj=stream, mode="r|gz") as archive:
        yield archive


def _read_list(archive: tarfile.TarFile) -> Contents:
    member = archive.next()
    if member is None or member.name != LIST or not member.isreg() or member.size > LONGEST_LIST:
        raise ValueError(f"it does not begin with {LIST}")
    stream = archive.extractfile(member)
    fields = json.loads(stream.read() if stream is not None else b"")
    if fields["kind"] != KIND:
        raise ValueError(f"it holds {fields['kind']!r}")
    if fields["version"] != VERSION:
        raise ValueError(f"it is of version {fields['version']}, and this program reads {VERSION}")
    files = {
        str(name): (int(size), str(digest)) for name, (size, digest) in fields["files"].items()
    }
    for name in files:
        if not all(_PART.fullmatch(part) for part in name.split("/")):
            raise ValueError(f"{name!r} is no plain relative path")
    return Contents(files, dict(fields["notes"]))


def _unpack(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    contents: Contents,
    missing: set[str],
    folder: Path | None,
) -> None:
    """Check one file, and write it if it is what the list says."""
    if not member.isreg():
        raise ValueError(f"{member.name!r} is no regular file")
    if member.name not in missing:
        raise ValueError(f"{member.name!r} is not listed, or twice there")
    size, digest = contents.files[member.name]
    stream = archive.extractfile(member)
    if member.size != size or stream is None:
        raise ValueError(f"{member.name!r} has {member.size} bytes instead of {size}")
    if folder is None:
        found = _copy(stream, None)
    else:
        path = folder / member.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as written:
            found = _copy(stream, written)
    if found != digest:
        raise ValueError(f"the bytes of {member.name!r} are not those that were packed")
    missing.discard(member.name)


def _copy(source: IO[bytes], target: IO[bytes] | None) -> str:
    """Copy a stream and return the SHA-256 of its bytes."""
    found = hashlib.sha256()
    while block := source.read(_BLOCK):
        found.update(block)
        if target is not None:
            target.write(block)
    return found.hexdigest()


def _member(name: str, size: int) -> tarfile.TarInfo:
    """Describe a file without its owner, whose name is nobody's business."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


def _refused(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"{path} must be a whole archive that `hpo archive` wrote, but {reason}; nothing was "
        "unpacked, get the file again"
    )
