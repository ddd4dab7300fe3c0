"""Write files atomically, lock them, check names, and compute fingerprints of their contents.

A file or folder is written under a temporary name, flushed and renamed, so readers see it complete
or not at all. Does not interpret what the files contain.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from core.errors import ConfigError, StorageError, UserError

left_out = logging.getLogger("core.left_out")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def check_name(kind: str, name: str) -> str:
    """Return ``name`` if it is safe as one part of a path, else raise ``ConfigError``."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"a {kind} name must start with a letter or digit and hold at most 80 letters, digits, "
            f"'.', '_' or '-', got {name!r}; choose another"
        )
    return name


def writable_folder(path: Path) -> Path:
    """Create ``path`` if necessary and check that it is writable, else raise ``StorageError``."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        # Also of a link to nothing the system says only that it exists.
        no_folder = isinstance(error, FileExistsError)
        reason = "it is no folder" if no_folder else error.strerror or error
        raise StorageError(
            f"the folder {path} must be writable, but {reason}; "
            "choose another with --storage, --data or --out, or mend its permissions"
        ) from error
    return path


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary file, flush it to the disk and rename it to ``path``.

    Raises:
        StorageError: ``path`` is a folder or a device, which a file must not replace.
        OSError: it could not be written; names the file.
    """
    with file_written_aside(path) as stream:
        stream.write(content)


@contextmanager
def file_written_aside(path: Path) -> Iterator[IO[bytes]]:
    """Yield a temporary file that is flushed and becomes ``path`` if the block succeeds.

    Raises:
        StorageError: ``path`` is a folder or a device, which a file must not replace.
        OSError: it could not be written; names the file.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device"
        raise StorageError(f"{path} must be a file or nothing yet, but is {kind}; name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with _file_named(path), os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp creates private files; give them the permissions of the process's umask instead.
        os.chmod(aside, 0o666 & ~_umask())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


@contextmanager
def _file_named(path: Path) -> Iterator[None]:
    """Name the file in errors of a full disk, which do not say what was being written."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN is refused."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


@contextmanager
def folder_written_aside(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield a new folder that becomes ``path`` if the block succeeds and is deleted if it fails.

    Args:
        path: the final path of the folder.
        replace: whether to replace an existing ``path``. Without it the first of several writers
            wins and the others raise, so that no folder is deleted while another process has it
            open.

    Raises:
        FileExistsError: ``path`` exists and is not empty, and ``replace`` is off.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield aside
        os.chmod(aside, 0o777 & ~_umask())
        if replace and path.exists():
            shutil.rmtree(path)
        _rename_folder(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _rename_folder(aside: Path, path: Path) -> None:
    # Renaming onto a folder that is not empty fails atomically, so there is no race with a check.
    try:
        os.replace(aside, path)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
            raise FileExistsError(errno.EEXIST, "holds something already", str(path)) from error
        raise


def log_left_out(what: str, error: UserError) -> None:
    """Say that ``what`` is left out because it is damaged, while the work goes on with the rest.

    The command line prints it and ends with exit code 1.
    """
    left_out.warning("leaving out %s: %s", what, error)


def sha256_of_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Return 16 hexadecimal digits that identify a JSON-able ``value``, whatever its key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs; other processes of this machine wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _umask() -> int:
    # The umask can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
