"""Teachers below any storage: on a folder as ``core`` leaves them, in an object store as well.

A storage's folder in; the teachers that the store has lie in it afterwards, and a teacher trained
here goes to the store, with its checkpoints while it trains. On a folder that is no mirror nothing
is done but what ``core.experiments.train_teacher`` does.
"""

from __future__ import annotations

from pathlib import Path

from core.experiments import OnEpoch, OnStep, train_teacher
from core.preprocessing.prepare import PreparedData
from core.training.teachers import TEACHER_FILE, Teacher, TeacherConfig, teacher_folder
from core.training.trainer import EpochReport
from hpo.storage.mirror import MirroredStates, mirror_of


def bring_teachers(storage: Path) -> None:
    """Bring the trained teachers that are not here."""
    mirror = mirror_of(storage)
    if mirror is not None:
        listed = mirror.store.list(mirror.key(teacher_folder(storage, "")))
        mirror.bring_listed(
            {key: found for key, found in listed.items() if key.endswith(f"/{TEACHER_FILE}")}
        )


def publish_teacher(teacher: Teacher) -> None:
    """Put a trained teacher, if the store lacks it: whoever trained it may have been killed."""
    mirror, path = mirror_of(teacher.folder.parents[1]), teacher.folder / TEACHER_FILE
    if mirror is not None and mirror.store.look(mirror.key(path)) is None:
        mirror.publish(path)


def train_stored_teacher(
    data: PreparedData,
    config: TeacherConfig,
    storage: Path,
    on_epoch: OnEpoch,
    on_step: OnStep | None = None,
) -> Teacher:
    """Train a teacher, or return it if it is there; see ``core.experiments.train_teacher``."""
    mirror = mirror_of(storage)
    if mirror is None:
        return train_teacher(data, config, storage, on_epoch, on_step)
    folder = teacher_folder(storage, config.fingerprint_for(data))
    states = MirroredStates(mirror, folder / "checkpoints")
    if not (folder / TEACHER_FILE).exists():
        mirror.bring([mirror.key(folder / TEACHER_FILE)])
    if not (folder / TEACHER_FILE).exists():
        states.bring()

    def publish_epoch(report: EpochReport) -> None:
        states.publish()
        on_epoch(report)

    teacher = train_teacher(data, config, storage, publish_epoch, on_step)
    publish_teacher(teacher)
    states.clear()
    return teacher
