"""Open the folder of one sweep: its files, its plan, the right to drive it.

Runs nothing. Only the process that holds the driver's lock may write the ledger and the records.
What it writes is uploaded where the storage is an object store (``hpo.storage.storage``), and there
``find_sweep`` and ``all_sweeps`` first download what others have uploaded.
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
from hpo.records.sweep_plan import PLAN_VERSION, SweepOutline, SweepPlan, ToldTrial
from hpo.records.sync import sweep_sync
from hpo.space.search_space import SearchSpace
from hpo.storage.storage import Storage, storage_at
from hpo.sweep_config import SweepConfig


@dataclass(frozen=True)
class SweepFolder:
    """The paths of one sweep, or of the confirmation of one, which shares its plan."""

    path: Path
    term: int | None = None
    """For a worker: of the driver that it works for (``Storage.upload``)."""

    @property
    def confirmation(self) -> SweepFolder:
        """The folder in which the sweep's best configurations are trained again."""
        return SweepFolder(self._sweep / layout.CONFIRMATION)

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self._sweep.name

    @property
    def storage(self) -> Path:
        """The folder that holds the sweep, other sweeps and the teachers."""
        return self._sweep.parent

    @property
    def store(self) -> Storage:
        """The storage as an object, which shares its files with other machines."""
        return storage_at(self.storage)

    @property
    def address(self) -> str:
        """The text by which ``hpo.records.trial_files.open_sweep`` finds it on any machine."""
        return self.store.address_of(self.path)

    @property
    def storage_address(self) -> str:
        """The storage as the user names it."""
        return self.store.address

    @property
    def plan_file(self) -> Path:
        """File of the sweep's plan; without it there is no sweep."""
        return self._sweep / layout.PLAN

    @property
    def _sweep(self) -> Path:
        return self.path.parent if self.path.name == layout.CONFIRMATION else self.path

    @property
    def ledger_file(self) -> Path:
        """File of its ledger."""
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
        """Return the folder of a running trial's checkpoints."""
        return self.path / layout.TRIALS / layout.trial_folder(trial) / layout.CHECKPOINTS

    def student(self, trial: int) -> Path:
        """Return the file of a trial's student."""
        return self.path / layout.TRIALS / layout.trial_folder(trial) / layout.STUDENT

    def trajectory(self, trial: int) -> Path:
        """Return the file that holds how a trial's student was pruned, removal by removal."""
        return self.path / layout.TRIALS / layout.trial_folder(trial) / layout.TRAJECTORY

    def test_days(self, trial: int) -> Path:
        """Return the file that holds the errors of a trial's student on the test days."""
        return self.path / layout.TRIALS / layout.trial_folder(trial) / layout.TEST_DAYS

    def write_plan(self, plan: SweepPlan) -> None:
        """Write and upload the plan; from then on the sweep exists."""
        fields = {**vars(plan), "config": plan.config.to_json(), "space": plan.space.to_json()}
        fields["told"] = [vars(one) for one in plan.told]
        write_json(self.plan_file, {"version": PLAN_VERSION, **fields})
        try:
            self.publish(self.plan_file)
        except BaseException:
            self.plan_file.unlink()  # for all others there is no such sweep
            raise

    def read_plan(self) -> SweepPlan:
        """Read the plan.

        Raises:
            StorageError: it is damaged or of another version.
        """
        with self._damage_named():
            fields = self._read_fields()
            return SweepPlan(**{**fields, "space": SearchSpace.from_json(fields["space"])})

    def read_outline(self) -> SweepOutline:
        """Read the plan without its search space, which is quick; errors are those of the plan."""
        with self._damage_named():
            fields = self._read_fields()
            del fields["space"]
            return SweepOutline(**fields)

    def _read_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self.plan_file.read_text())
        if fields.pop("version") != PLAN_VERSION:
            raise StorageError(f"{self.plan_file} was written by another version; start anew")
        fields["config"] = SweepConfig.from_json(fields["config"])
        fields["told"] = tuple(ToldTrial(**one) for one in fields.get("told", ()))
        return fields

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        # ValueError: broken text, broken JSON, and settings that break rules.
        except (
            OSError,
            KeyError,
            TypeError,
            AttributeError,
            ValueError,
            RecursionError,
        ) as error:
            raise StorageError(
                f"{self.plan_file} must be a sweep's plan: {error}; start the sweep anew"
            ) from error

    def publish(self, path: Path) -> None:
        """Upload a file that this process has written as the driver.

        Raises:
            StorageError: another process drives this sweep now.
        """
        self.store.publish(self.path, path)

    def refresh(self) -> None:
        """Download what others have uploaded, unless the sweep is driven from this machine."""
        sweep_sync.download_sweep(self.store, self._sweep, _is_driven_here)

    @contextmanager
    def driver_lock(self) -> Iterator[None]:
        """Be the one driver while the block runs; the lock ends with the process, however it ends.

        Raises:
            StorageError: another process drives this sweep.
        """
        with ExitStack() as held:
            with self.store.lock(self.name):  # nobody downloads what this process will write
                held.enter_context(self._file_lock())
            held.enter_context(self.store.driver_lease(self.path))
            sweep_sync.download_driven(self.store, self.path)
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
        """Whether any process drives this sweep now."""
        return self.is_driven_here() or self.store.is_driven(self.path)

    def is_driven_here(self) -> bool:
        """Whether a process that shares this folder drives this sweep."""
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
    sweep_sync.download_all_sweeps(storage_at(storage), _is_driven_here)
    return [SweepFolder(path.parent) for path in sorted(storage.glob(layout.PLANS))]
