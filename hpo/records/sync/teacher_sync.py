"""Train and find teachers in a storage that machines share.

Downloads the teachers that others trained, and uploads those trained here, with their checkpoints
while they train. On a storage that is a folder nothing is moved, and training is
``core.experiments.train_teacher``.
"""

from __future__ import annotations

from pathlib import Path

from core.experiments import OnEpoch, OnStep, train_teacher
from core.preprocessing.prepare import PreparedData
from core.training.teacher_files import CHECKPOINTS_FOLDER, TEACHER_FILE, teacher_folder
from core.training.teachers import Teacher, TeacherConfig
from core.training.trainer import EpochReport
from hpo.storage.storage import Listing, storage_at


def download_teachers(storage: Path) -> None:
    """Download the trained teachers that are not here."""

    def download(listing: Listing) -> None:
        listing.only(path for path in listing.paths if path.name == TEACHER_FILE).download()

    storage_at(storage).sync(teacher_folder(storage, ""), download)


def publish_teacher(teacher: Teacher) -> None:
    """Upload a trained teacher unless it is there: who trained it may have been killed before."""
    storage_at(teacher.folder.parents[1]).upload_missing(teacher.folder / TEACHER_FILE)


def train_stored_teacher(
    data: PreparedData,
    config: TeacherConfig,
    storage: Path,
    on_epoch: OnEpoch,
    on_step: OnStep | None = None,
) -> Teacher:
    """Train a teacher, or return it if there is one; see ``core.experiments.train_teacher``."""
    store = storage_at(storage)
    folder = teacher_folder(storage, config.fingerprint_for(data))
    checkpoints = store.synced_folder(folder / CHECKPOINTS_FOLDER)
    if not (folder / TEACHER_FILE).exists():
        store.download([folder / TEACHER_FILE])
    if not (folder / TEACHER_FILE).exists():
        checkpoints.download()

    def upload_epoch(report: EpochReport) -> None:
        checkpoints.upload()
        on_epoch(report)

    teacher = train_teacher(data, config, storage, upload_epoch, on_step)
    publish_teacher(teacher)
    checkpoints.clear()
    return teacher
