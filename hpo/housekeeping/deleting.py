"""Delete a sweep with all that belongs to it; its teachers stay, as other sweeps may need them.

Asks nobody: the command line does.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from core.errors import StorageError
from hpo.records.sweep_folder import SweepFolder


def delete_sweep(folder: SweepFolder) -> None:
    """Delete a sweep here and for others.

    On a disk it is gone at once; in an object store its plan goes last, so that a deletion that was
    interrupted can be repeated.

    Raises:
        StorageError: another process drives it, or its files cannot be deleted.
    """
    with undriven(folder):
        remove(folder)


def remove(folder: SweepFolder) -> None:
    """Delete a sweep that this process holds the locks of.

    Raises:
        OSError: its files cannot be deleted.
        ObjectStoreError: the same, in an object store.
    """
    aside = Path(tempfile.mkdtemp(dir=folder.storage, prefix=f".{folder.name}.deleted."))
    try:
        folder.path.rename(aside / folder.name)
        folder.store.clear_folder(folder.path, folder.plan_file)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def undriven(folder: SweepFolder) -> Iterator[None]:
    """Keep others from driving a sweep or its confirmation while the block runs.

    Raises:
        StorageError: another process drives one of them, or the block fails because of a disk.
    """
    with ExitStack() as held:
        held.enter_context(faults_reported(folder.path))
        held.enter_context(folder.driver_lock())
        confirmation = folder.confirmation
        if confirmation.path.is_dir() or confirmation.is_driven():
            held.enter_context(confirmation.driver_lock())
        yield


@contextmanager
def faults_reported(path: Path) -> Iterator[None]:
    """Raise ``StorageError`` where the block fails because of a disk.

    Args:
        path: what is named where the error names no file.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{error.filename or path} must be readable and writable, but "
            f"{error.strerror or error}; mend that, then give the same command again"
        ) from error
