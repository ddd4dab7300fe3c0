"""Open the folder of one sweep: its files, its plan, the right to drive it.

Runs nothing. Only the process that holds the driver's lock may write the ledger and the records.
Where the storage is a mirror (``hpo.storage.mirror``), what is written here is uploaded to its
store, and ``find_sweep`` and ``all_sweeps`` download what others have uploaded first.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import StorageError, UnknownNameError
from core.files import check_name, write_json
from hpo.records import layout
from hpo.records import sweep_sync as mirrored_sweeps
from hpo.records.sweep_plan import PLAN_VERSION, SweepPlan
from hpo.space.search_space import SearchSpace
from hpo.storage import driver_lease
from hpo.storage.mirror import Mirror, mirror_of
from hpo.sweep_config import SweepConfig


@dataclass(frozen=True)
class SweepFolder:
    """The paths of one sweep, or of the confirmation of one, which shares its plan."""

    path: Path

    @property
    def confirmation(self) -> SweepFolder:
        """Where the sweep's best configurations are trained again."""
        return SweepFolder(self._sweep / layout.CONFIRMATION)

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self._sweep.name

    @property
    def storage(self) -> Path:
        """What the sweep lies in, beside other sweeps and the teachers."""
        return self._sweep.parent

    @property
    def mirror(self) -> Mirror | None:
        """What mirrors the storage from an object store; None: the folder is the storage."""
        return mirror_of(self.storage)

    @property
    def address(self) -> str:
        """What ``hpo.records.trial_files.open_sweep`` finds it by, also on another machine."""
        mirror = self.mirror
        return str(self.path) if mirror is None else f"{mirror.store.address}#{self.key}"

    @property
    def storage_address(self) -> str:
        """Its storage as the user names it."""
        mirror = self.mirror
        return str(self.storage) if mirror is None else mirror.store.address

    @property
    def plan_file(self) -> Path:
        """The sweep's plan; there is a sweep where this is."""
        return self._sweep / layout.PLAN

    @property
    def key(self) -> str:
        """Its name below the storage, ``night`` or ``night/confirmation``."""
        return self.path.relative_to(self.storage).as_posix()

    @property
    def _sweep(self) -> Path:
        return self.path.parent if self.path.name == layout.CONFIRMATION else self.path

    @property
    def ledger_file(self) -> Path:
        """Its ledger."""
        return self.path / layout.LEDGER

    @property
    def results(self) -> Path:
        """Folder of its records."""
        return self.path / layout.RESULTS

    @property
    def exports(self) -> Path:
        """Folder of its exports (``hpo.outcomes.export_best``)."""
        return self.path / layout.EXPORTS

    def checkpoints(self, trial: int) -> Path:
        """Return the folder of a running trial's states."""
        return self.path / layout.TRIALS / f"{trial:04d}" / layout.CHECKPOINTS

    def student(self, trial: int) -> Path:
        """Return the file of a trial's student."""
        return self.path / layout.TRIALS / f"{trial:04d}" / layout.STUDENT

    def trajectory(self, trial: int) -> Path:
        """Return the file of how a trial's student was pruned, removal by removal."""
        return self.path / layout.TRIALS / f"{trial:04d}" / layout.TRAJECTORY

    def write_plan(self, plan: SweepPlan) -> None:
        """Write the plan; from here on the sweep exists."""
        fields = {**vars(plan), "config": plan.config.to_json(), "space": plan.space.to_json()}
        write_json(self.plan_file, {"version": PLAN_VERSION, **fields})
        try:
            self.publish(self.plan_file)
        except BaseException:
            self.plan_file.unlink()  # nobody else sees a sweep
            raise

    def read_plan(self) -> SweepPlan:
        """Read the plan.

        Raises:
            StorageError: it is damaged or of another version.
        """
        try:
            fields: dict[str, Any] = json.loads(self.plan_file.read_text())
            if fields.pop("version") != PLAN_VERSION:
                raise StorageError(f"{self.plan_file} was written by another version; start anew")
            fields["config"] = SweepConfig.from_json(fields["config"])
            fields["space"] = SearchSpace.from_json(fields["space"])
            return SweepPlan(**fields)
        except StorageError:
            raise
        # ValueError: broken text, broken JSON, and settings that break rules.
        except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise StorageError(
                f"{self.plan_file} must be a sweep's plan: {error}; start the sweep anew"
            ) from error

    def publish(self, path: Path) -> None:
        """Put a file that the driver has written where others find it."""
        mirror = self.mirror
        if mirror is not None:
            driver_lease.lease_on(self.path).check()
            mirror.publish(path)

    def refresh(self) -> None:
        """Bring what others have put of this sweep, unless it is driven from this machine."""
        mirror = self.mirror
        if mirror is not None:
            mirrored_sweeps.bring_sweep(mirror, self._sweep, _is_driven_here)

    @contextmanager
    def driver_lock(self) -> Iterator[None]:
        """Be the one driver while the block runs; the lock ends with the process, however it ends.

        Raises:
            StorageError: another process drives this sweep.
        """
        mirror = self.mirror
        if mirror is None:
            with self._file_lock():
                yield
            return
        with ExitStack() as held:
            with mirror.lock(self.name):  # nobody brings what this process will write
                held.enter_context(self._file_lock())
            held.enter_context(driver_lease.held_lease(mirror.store, self.key, self.path))
            mirrored_sweeps.bring_driven(mirror, self.path)
            yield

    @contextmanager
    def _file_lock(self) -> Iterator[None]:
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / layout.LOCK).open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StorageError(
                    f"a sweep has one driver, but another process drives {self.name!r}; "
                    "wait for it, or end it, or choose another name"
                ) from error
            yield

    def is_driven(self) -> bool:
        """Whether some process drives this sweep now."""
        mirror = self.mirror
        return self.is_driven_here() or (
            mirror is not None and driver_lease.is_driven(mirror.store, self.key)
        )

    def is_driven_here(self) -> bool:
        """Whether a process that shares this folder drives."""
        try:
            with (self.path / layout.LOCK).open() as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def _is_driven_here(part: Path) -> bool:
    return SweepFolder(part).is_driven_here()


def find_sweep(storage: Path, name: str) -> SweepFolder:
    """Return the sweep called ``name``, or raise with the nearest known name."""
    folder = SweepFolder(storage / check_name("sweep", name))
    folder.refresh()
    if not folder.plan_file.is_file():
        raise UnknownNameError("sweep", name, [sweep.name for sweep in all_sweeps(storage)])
    return folder


def all_sweeps(storage: Path) -> list[SweepFolder]:
    """Return every sweep below ``storage``, by name."""
    mirror = mirror_of(storage)
    if mirror is not None:
        mirrored_sweeps.bring_all_sweeps(mirror, _is_driven_here)
    return [SweepFolder(path.parent) for path in sorted(storage.glob(f"[!.]*/{layout.PLAN}"))]
