"""Pack a sweep and the teachers it needs into one file, and unpack that into any storage.

    archive.json                      sweep, teachers that were missing, sizes and checksums
    teachers/FINGERPRINT/teacher.safetensors
    night/                            as in a storage (``hpo.records.layout``)

An unpacked sweep is read, exported and resumed like any other; to resume, its dataset must be where
the plan says. Asks nobody: the command line does.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from core.errors import StorageError
from core.files import check_name, writable_folder, write_json
from core.training.teacher_files import TEACHER_FILE, TEACHERS_FOLDER, teacher_folder
from core.training.teachers import open_teacher
from hpo.housekeeping.archive_file import Contents, read_archive, read_contents, write_archive
from hpo.housekeeping.deleting import faults_reported, remove, undriven
from hpo.records.layout import LEDGER, LOCK, PLAN, RESERVED_NAMES
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sync.sweep_sync import download_all_files
from hpo.storage.storage import DRIVERS, ObjectStoreError


@dataclass(frozen=True)
class Archived:
    """What an archive holds."""

    sweep: str
    files: int
    teachers: list[str]
    """Fingerprints of the teachers that are in it."""
    missing_teachers: list[str]
    """Of those that the sweep needs and the storage lacked."""


def archive_sweep(folder: SweepFolder, path: Path, *, delete: bool = False) -> Archived:
    """Write a sweep into a new file.

    Args:
        folder: the sweep.
        path: of the archive; nothing may be there.
        delete: whether to delete the sweep once the archive was read back.

    Raises:
        StorageError: another process drives the sweep, there is something at ``path``, or the
            disk fails.
    """
    if path.exists():
        raise StorageError(f"an archive must be a new file, but {path} exists; choose another")
    with undriven(folder):
        download_all_files(folder.store, folder.path)
        files = {f"{folder.name}/{name}": file for name, file in _files(folder)}
        teachers, missing = _teachers(folder)
        notes = {
            "sweep": folder.name,
            "missing_teachers": missing,
            "written_by": version("stgcn-student-search"),
        }
        with faults_reported(path):
            write_archive(path, {**files, **teachers}, notes)
            contents = _read_back(path)
        if delete:
            remove(folder)
    return _facts(contents)


def _read_back(path: Path) -> Contents:
    try:
        return read_archive(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def unarchive_sweep(path: Path, storage: Path, data: Path | None = None) -> Archived:
    """Unpack an archive, so that its sweep is in ``storage`` as it was where it came from.

    Args:
        path: of the archive.
        storage: the folder that ``open_storage`` returned.
        data: folder of the datasets here, written into the plan; None: where they were.

    Raises:
        StorageError: there is such a sweep already, the archive is damaged, or the disk fails.
        ConfigError: its sweep has a name that no sweep may have.
    """
    with faults_reported(path):
        announced = read_contents(path)
    folder = SweepFolder(storage.resolve() / _sweep_name(announced, path))
    with faults_reported(storage), _staging(writable_folder(storage).resolve()) as aside:
        _check_free(folder)
        if read_archive(path, aside) != announced:
            raise StorageError(f"{path} must not change while it is read; try again")
        staged = SweepFolder(aside / folder.name)
        if data is not None:
            _move_data(staged, data)
        staged.read_plan()  # of this version, and whole
        with folder.driver_lock():
            _check_free(folder)
            for name in sorted(_teachers_in(announced)):
                _add_teacher(aside, folder, name)
            _add_sweep(staged, folder)
    return _facts(announced)


def _files(folder: SweepFolder) -> Iterator[tuple[str, Path]]:
    """Yield all files of a sweep but locks, leases, parts of ledgers and unfinished files."""
    for path in sorted(folder.path.rglob("*")):
        name = path.relative_to(folder.path)
        hidden = any(part.startswith(".") for part in name.parts)
        if hidden or path.is_symlink() or not path.is_file() or path.name == LOCK:
            continue
        if path.parent.name not in {DRIVERS, Path(LEDGER).stem}:
            yield name.as_posix(), path


def _teachers(folder: SweepFolder) -> tuple[dict[str, Path], list[str]]:
    """Return the files of the teachers that a sweep needs, by name, and which are not there."""
    plan = folder.read_plan()
    needed = [one for one in (plan.teacher_fingerprint, plan.base_fingerprint) if one is not None]
    files = {one: teacher_folder(folder.storage, one) / TEACHER_FILE for one in needed}
    present = {
        f"{TEACHERS_FOLDER}/{one}/{TEACHER_FILE}": file
        for one, file in files.items()
        if file.is_file()
    }
    return present, [one for one, file in files.items() if not file.is_file()]


def _facts(contents: Contents) -> Archived:
    return Archived(
        str(contents.notes["sweep"]),
        len(contents.files),
        sorted(_teachers_in(contents)),
        [str(one) for one in contents.notes["missing_teachers"]],
    )


def _teachers_in(contents: Contents) -> set[str]:
    parts = [name.split("/") for name in contents.files]
    return {part[1] for part in parts if part[0] == TEACHERS_FOLDER}


def _sweep_name(contents: Contents, path: Path) -> str:
    """Return the sweep's name, if the archive holds that sweep and teachers alone."""
    name = check_name("sweep", str(contents.notes.get("sweep")))
    files = set(contents.files)
    teachers = {f"{TEACHERS_FOLDER}/{one}/{TEACHER_FILE}" for one in _teachers_in(contents)}
    others = {file for file in files - teachers if not file.startswith(f"{name}/")}
    if name in RESERVED_NAMES or others or f"{name}/{PLAN}" not in files:
        raise StorageError(
            f"{path} must hold one sweep and its teachers, but {min(others, default=name)!r} is "
            "none of these; nothing was unpacked"
        )
    return name


def _check_free(folder: SweepFolder) -> None:
    folder.refresh()
    if folder.plan_file.exists() or any(
        path.is_file() and path.name != LOCK for path in folder.path.rglob("*")
    ):
        raise StorageError(
            f"the storage must not hold what is unpacked, but {folder.name!r} is in "
            f"{folder.storage_address}; delete it, or unpack into another --storage"
        )


@contextmanager
def _staging(storage: Path) -> Iterator[Path]:
    """Yield a new folder of the storage's file system, which is deleted in the end."""
    aside = Path(tempfile.mkdtemp(dir=storage, prefix=".unpacked."))
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _move_data(staged: SweepFolder, data: Path) -> None:
    fields = json.loads(staged.plan_file.read_text())
    write_json(staged.plan_file, {**fields, "data_folder": str(data.resolve())})


def _add_teacher(aside: Path, folder: SweepFolder, fingerprint: str) -> None:
    """Put a teacher among those of the storage, unless it is there."""
    open_teacher(teacher_folder(aside, fingerprint))  # whole, and a teacher
    target = teacher_folder(folder.storage, fingerprint) / TEACHER_FILE
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        (teacher_folder(aside, fingerprint) / TEACHER_FILE).replace(target)
    folder.store.upload_missing(target)


def _add_sweep(staged: SweepFolder, folder: SweepFolder) -> None:
    """Put the files of a sweep in their places, the plan last: with it there is the sweep."""
    folder.store.clear_folder(folder.path, folder.plan_file)  # of a start that failed
    try:
        for path in sorted(staged.path.iterdir()):
            if path.name != PLAN:
                _move(path, folder.path / path.name)
        for name, path in [*_files(folder)]:
            if Path(name).name != LEDGER:
                folder.store.upload(path)
        _upload_ledgers(folder)
        staged.plan_file.replace(folder.plan_file)
        folder.publish(folder.plan_file)
    except BaseException:
        for path in folder.path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        # What is left where that fails as well has no plan, and so is no sweep.
        with suppress(ObjectStoreError):
            folder.store.clear_folder(folder.path, folder.plan_file)
        raise


def _move(source: Path, target: Path) -> None:
    if target.is_dir():  # empty ones may be left
        shutil.rmtree(target)
    source.replace(target)


def _upload_ledgers(folder: SweepFolder) -> None:
    """Upload the ledgers of a sweep and its confirmation, each as whoever drives it."""
    for part in (folder, folder.confirmation):
        if part.ledger_file.is_file():
            with ExitStack() as held:
                lease = nullcontext() if part == folder else folder.store.driver_lease(part.path)
                held.enter_context(lease)
                held.enter_context(folder.store.ledger_upload(part.ledger_file))
