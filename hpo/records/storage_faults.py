"""Turn errors of full or broken disks and of object stores into one line that ends a sweep.

Such an error is never a trial's fault. The sweep stops and can be resumed; nothing relied on what
it was about to write. Mends nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import StorageError
from hpo.records.sweep_folder import SweepFolder
from hpo.storage.storage import ObjectStoreError

STOPPED = "stopped"
"""Status that a trial reports when its storage failed: it has not ended, the sweep stops."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BROKEN = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}


def storage_fault(error: OSError, folder: SweepFolder) -> StorageError | None:
    """Return the error to show the user, or None if ``error`` is not about a disk."""
    if error.errno not in _FULL | _BROKEN:
        return None
    advice = "make room" if error.errno in _FULL else "mend it"
    return StorageError(
        f"{error.filename or folder.path} must take what the sweep writes, but {error.strerror}; "
        f"{advice}, then go on with {_again(folder)}"
    )


@contextmanager
def storage_faults_reported(folder: SweepFolder) -> Iterator[None]:
    """Raise ``StorageError`` where the block fails because of a disk or an object store."""
    try:
        yield
    except ObjectStoreError as error:
        advice = f"mend that, then go on with {_again(folder)}"
        raise StorageError(f"{error.problem}; {advice}") from error
    except OSError as error:
        fault = storage_fault(error, folder)
        if fault is None:
            raise
        raise fault from error


def _again(folder: SweepFolder) -> str:
    return f"`hpo resume {folder.name}`" if folder.plan_file.exists() else "the same command"
