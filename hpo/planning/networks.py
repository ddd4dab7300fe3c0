"""Find the trained networks that a sweep relies on, and its students' sizes. Trains none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from core.distillation.layer_alignment import check_one_kind
from core.distillation.losses import LOSSES
from core.experiments import network_shape
from core.families import DEFAULT_FAMILY, find_family
from core.preprocessing.prepare import PreparedData
from core.training.ensembles import find_ensemble, make_ensemble
from core.training.teacher_files import TEACHER_FILE, teacher_folder
from core.training.teachers import (
    Teacher,
    TeacherConfig,
    default_teacher,
    find_teacher,
    open_teacher,
)
from hpo.records.sweep_plan import SweepPlan
from hpo.records.sync.teacher_sync import download_teachers, publish_teacher
from hpo.sweep_config import SweepConfig
from hpo.teachers.named_members import members_named
from hpo.trials.trial_settings import StudentSizes


def pruning_base(form: str, family: str = DEFAULT_FAMILY) -> TeacherConfig:
    """Return the pruning base of a family, Table 1's, in some form, trained as its teachers are."""
    return replace(default_teacher(form, family), channels=find_family(family).pruning_base)


@dataclass(frozen=True)
class Networks:
    """The trained networks that a sweep relies on; None where not needed, or not trained yet."""

    teacher: Teacher | None
    base: Teacher | None
    """The network that pruning starts from."""


def needs_teacher(config: SweepConfig) -> bool:
    """Whether trials use a teacher, to distil from or to prune."""
    return bool(LOSSES[config.loss_name].needs) or config.base_name == "teacher"


def find_networks(config: SweepConfig, storage: Path, data: PreparedData) -> Networks:
    """Return those networks that the sweep needs and that are trained already."""
    download_teachers(storage)
    teacher = base = None
    if needs_teacher(config) and config.teachers is not None:
        teacher = _find_ensemble(config.teachers, config.teacher_weighting, storage, data)
    elif needs_teacher(config):
        teacher = find_teacher(storage, data, config.teacher, config.form)
    if config.base_name == "teacher":
        base = teacher
    elif config.base_name is not None:
        wanted = pruning_base(config.form, config.family)
        folder = teacher_folder(storage, wanted.fingerprint_for(data))
        base = open_teacher(folder) if (folder / TEACHER_FILE).is_file() else None
    return Networks(teacher, base)


def check_layers(
    config: SweepConfig, teacher: Teacher | None, storage: Path, data: PreparedData
) -> None:
    """Raise ``ConfigError`` if a loss compares layers that those who teach do not have in common.

    Args:
        config: of the sweep.
        teacher: as found; None where it is not trained or not joined yet.
        storage: see ``find_networks``.
        data: see ``find_networks``.
    """
    if not LOSSES[config.loss_name].needs - {"prediction"}:
        return
    if teacher is not None:
        check_one_kind(teacher.configs)
    elif config.teachers is not None:
        members = members_named(config.teachers, storage, data)
        check_one_kind([member.load(data).config for member in members])


def make_named_ensemble(
    teachers: str, weighting: str, storage: Path, data: PreparedData
) -> Teacher:
    """Join the teachers that are named (``hpo.teachers.named_members``), unless that was done."""
    found = _find_ensemble(teachers, weighting, storage, data)
    if found is None:
        members = members_named(teachers, storage, data)
        found = make_ensemble(members, weighting, data, storage)
    publish_teacher(found)
    return found


def _find_ensemble(
    teachers: str, weighting: str, storage: Path, data: PreparedData
) -> Teacher | None:
    return find_ensemble(members_named(teachers, storage, data), weighting, data, storage)


def planned_sizes(plan: SweepPlan, storage: Path, data: PreparedData) -> StudentSizes:
    """Return the student sizes of a sweep that has begun."""
    base = None
    if plan.base_fingerprint is not None:
        base = open_teacher(teacher_folder(storage, plan.base_fingerprint))
    return student_sizes(plan.config, data, base)


def student_sizes(config: SweepConfig, data: PreparedData, base: Teacher | None) -> StudentSizes:
    """Return the student sizes of a new sweep; ``base`` is None where it is not trained yet."""
    if config.base_name is None:
        return StudentSizes(config, data, base=None)
    if base is not None:
        return StudentSizes(config, data, base.config)
    of_teacher = config.base_name == "teacher"
    untrained = pruning_base(config.form, config.family)
    if of_teacher:
        untrained = default_teacher(config.form)
    shape = network_shape(data, untrained.channels, untrained.form, untrained.family)
    return StudentSizes(config, data, shape)
