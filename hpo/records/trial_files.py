"""Files of a sweep that several machines write: the ledger, and what belongs to one trial.

A sweep's folder in; its ledger open for writing, a trial's states and its student where all find
them, out. On a storage that is a folder all is there already, and nothing is done. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.checkpoint import CheckpointFolder
from core.errors import StorageError
from hpo.records.ledger import Ledger, SweepState
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_sync import bring_plan
from hpo.storage.driver_lease import lease_on
from hpo.storage.ledger_parts import LedgerSegments
from hpo.storage.mirror import MirroredStates, open_mirror


def open_sweep(address: str) -> SweepFolder:
    """Return the sweep or confirmation that ``SweepFolder.address`` named, on any machine."""
    storage, _, key = address.rpartition("#")
    if "://" not in storage:
        return SweepFolder(Path(address))
    return SweepFolder(open_mirror(storage) / key)


@contextmanager
def writable_ledger(
    folder: SweepFolder, on_change: Callable[[SweepState], None] = lambda _: None
) -> Iterator[Ledger]:
    """Open the ledger of a sweep that this process drives; its store hears every event.

    Raises:
        StorageError: the store did not take the last events.
    """
    ledger, mirror = Ledger(folder.ledger_file, on_change), folder.mirror
    try:
        if mirror is None:
            yield ledger
            return
        segments = LedgerSegments(mirror, folder.ledger_file, lease_on(folder.path).check)
        ledger.on_written = segments.append
        try:
            yield ledger
        except BaseException:
            with suppress(StorageError):  # the first error says more
                segments.close()
            raise
        segments.close()
    finally:
        ledger.close()


def bring_for_worker(folder: SweepFolder) -> None:
    """Bring the plan and the teachers that it names."""
    if (mirror := folder.mirror) is not None:
        bring_plan(mirror, folder.storage / folder.name)


class TrialFiles:
    """What a worker needs of the store for one trial, and puts there."""

    def __init__(self, folder: SweepFolder, trial: int) -> None:
        """Move nothing yet."""
        self._folder, self._trial, self._mirror = folder, trial, folder.mirror
        self._states = None
        if self._mirror is not None:
            self._states = MirroredStates(self._mirror, folder.checkpoints(trial))

    def bring(self) -> None:
        """Bring the plan, the teachers that it names and the trial's newest states."""
        if self._mirror is not None and self._states is not None:
            bring_for_worker(self._folder)
            self._states.bring()

    def publish_states(self) -> None:
        """Put the newest state, delete those no longer kept."""
        if self._states is not None:
            self._states.publish()

    def publish_student(self) -> None:
        """Put the trained student, and how it was pruned."""
        if self._mirror is None:
            return
        for path in (self._folder.trajectory(self._trial), self._folder.student(self._trial)):
            if path.is_file():
                self._mirror.publish(path)


def has_student(folder: SweepFolder, trial: int) -> bool:
    """Whether a trial's student is there, here or where a worker has put it."""
    path, mirror = folder.student(trial), folder.mirror
    if mirror is None:
        return path.is_file()
    return mirror.store.look(mirror.key(path)) is not None


def delete_student(folder: SweepFolder, trial: int) -> None:
    """Delete a trial's student, if there is one."""
    path = folder.student(trial)
    path.unlink(missing_ok=True)
    if (mirror := folder.mirror) is not None:
        mirror.store.delete(mirror.key(path))


def names_of_exports(folder: SweepFolder) -> set[str]:
    """Return the names of the folders that a sweep's students were exported to."""
    names = {path.name for path in folder.exports.glob("*-trial-*")}
    if (mirror := folder.mirror) is not None:
        names |= {key.split("/")[-2] for key in mirror.store.list(mirror.key(folder.exports))}
    return names


def bring_student(folder: SweepFolder, trial: int) -> None:
    """Bring a trial's student."""
    if (mirror := folder.mirror) is not None:
        mirror.bring([mirror.key(folder.student(trial))])


def clear_checkpoints(folder: SweepFolder, trial: int) -> None:
    """Delete the states of a trial that has ended and is recorded."""
    CheckpointFolder(folder.checkpoints(trial)).clear()
    if (mirror := folder.mirror) is not None:
        MirroredStates(mirror, folder.checkpoints(trial)).clear()
