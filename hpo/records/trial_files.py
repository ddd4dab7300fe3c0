"""Move the files of a sweep that several machines write: its ledger, and those of one trial.

Uploads the ledger's events, a trial's checkpoints and its student, and downloads what a worker
needs. On a storage that is a folder nothing is moved. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.checkpoint import CheckpointFolder
from hpo.records.ledger import Ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_state import SweepState
from hpo.records.sync.sweep_sync import download_plan
from hpo.storage.storage import SyncedFolder, path_at, term_at


def open_sweep(address: str) -> SweepFolder:
    """Return the sweep or confirmation with this ``SweepFolder.address``, on any machine."""
    return SweepFolder(path_at(address), term_at(address))


@contextmanager
def writable_ledger(
    folder: SweepFolder, on_change: Callable[[SweepState], None] = lambda _: None
) -> Iterator[Ledger]:
    """Open the ledger of a sweep that this process drives, and upload every event.

    Raises:
        StorageError: the last events could not be uploaded.
    """
    ledger = Ledger(folder.ledger_file, on_change)
    try:
        with folder.store.ledger_upload(folder.ledger_file) as on_written:
            ledger.on_written = on_written
            yield ledger
    finally:
        ledger.close()


def download_for_worker(folder: SweepFolder) -> None:
    """Download the plan and the teachers that it names."""
    download_plan(folder.store, folder.storage / folder.name)


class TrialFiles:
    """The files of one trial that its worker downloads and uploads."""

    def __init__(self, folder: SweepFolder, trial: int) -> None:
        """Move nothing yet."""
        self._folder, self._trial = folder, trial
        self._checkpoints = _checkpoints(folder, trial)

    def download(self) -> None:
        """Download the plan, the teachers that it names and the trial's newest checkpoints."""
        download_for_worker(self._folder)
        self._checkpoints.download()

    def upload_checkpoints(self) -> None:
        """Upload the newest checkpoint; delete uploaded ones that are no longer kept."""
        self._checkpoints.upload()

    def upload_student(self) -> None:
        """Upload the trained student, and its pruning trajectory if there is one."""
        for path in (self._folder.trajectory(self._trial), self._folder.student(self._trial)):
            if path.is_file():
                self._folder.store.upload(path, self._folder.term)


def has_student(folder: SweepFolder, trial: int) -> bool:
    """Whether a trial's student is there, here or where a worker has uploaded it."""
    return folder.store.exists(folder.student(trial))


def delete_student(folder: SweepFolder, trial: int) -> None:
    """Delete a trial's student, if there is one."""
    folder.store.delete(folder.student(trial))


def names_of_exports(folder: SweepFolder) -> set[str]:
    """Return the names of a sweep's export folders, of all machines."""
    return folder.store.names_in(folder.exports)


def download_student(folder: SweepFolder, trial: int) -> None:
    """Download a trial's student."""
    folder.store.download([folder.student(trial)])


def clear_checkpoints(folder: SweepFolder, trial: int) -> None:
    """Delete the checkpoints of a trial that has ended and is recorded."""
    CheckpointFolder(folder.checkpoints(trial)).clear()
    _checkpoints(folder, trial).clear()


def _checkpoints(folder: SweepFolder, trial: int) -> SyncedFolder:
    return folder.store.synced_folder(folder.checkpoints(trial))
