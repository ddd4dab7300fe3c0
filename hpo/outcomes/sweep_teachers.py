"""Make a student of a sweep a teacher of its dataset, so that teachers can be searched for.

The student's weights become a teacher's file beside the trained ones, with the sweep and the trial
in its settings. The same student is the same teacher, however often it is asked for. Trains none.
"""

from __future__ import annotations

from core.checkpoint import load_model, save_model
from core.errors import ConfigError, ExportError, UserError
from core.training.teacher_files import TEACHER_FILE, teacher_folder
from core.training.teachers import Teacher, open_teacher
from hpo.planning.sweep_planning import open_planned_data
from hpo.records.confirmation import confirmed
from hpo.records.ranking import no_student, ranked_records
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.records.sync.teacher_sync import publish_teacher
from hpo.records.trial_files import download_student, has_student
from hpo.records.trial_records import TrialRecord, read_records
from hpo.teachers.named_members import student_fingerprint


def teacher_from_sweep(folder: SweepFolder, dataset: str, trial: int | None = None) -> Teacher:
    """Return a sweep's student as a teacher of the sweep's data.

    Args:
        folder: of the sweep.
        dataset: what it is to teach; must be the sweep's.
        trial: whose student; None: the best run of the best confirmed configuration, or without
            any the best trial.

    Raises:
        ConfigError: the sweep is of another dataset or has no such finished trial.
        ExportError: the student was not kept.
    """
    plan = folder.read_plan()
    if plan.config.dataset != dataset:
        raise ConfigError(
            f"a teacher of {dataset} must come from a sweep of it, but {folder.name!r} searched "
            f"{plan.config.dataset}; name another sweep"
        )
    data = open_planned_data(plan)
    home, record = _chosen(folder, plan, trial)
    if not has_student(home, record.trial):
        option = "" if home is folder else " --confirmation"
        raise ExportError(
            f"trial {record.trial} of {folder.name!r} must have a student, but it was not kept; "
            f"train it again by `hpo trial {folder.name} {record.trial}{option} --rerun`"
        )
    download_student(home, record.trial)
    file = home.student(record.trial)
    target = teacher_folder(folder.storage, student_fingerprint(file, data))
    if not (target / TEACHER_FILE).is_file():
        model, _ = load_model(file, data.graph_kernel)
        settings = {"sweep": home.name, "trial": record.trial, **record.configuration}
        metadata = {
            "dataset_fingerprint": data.fingerprint,
            "settings": settings,
            "metrics": record.metrics,
            "seconds": record.seconds,
            "gaps": data.gaps,
        }
        save_model(target / TEACHER_FILE, model, metadata)
    teacher = open_teacher(target)
    publish_teacher(teacher)
    return teacher


def _chosen(
    folder: SweepFolder, plan: SweepPlan, trial: int | None
) -> tuple[SweepFolder, TrialRecord]:
    """Return a record and the folder that its student lies in."""
    metric = plan.config.metric
    records = read_records(folder.results)
    ranked = ranked_records(records, metric)
    if trial is not None:
        named = [record for record in ranked if record.trial == trial]
        if not named:
            raise ConfigError(
                f"--trial must be a finished trial of {folder.name!r}, got {trial}; see `hpo "
                f"status {folder.name}`"
            )
        return folder, named[0]
    runs = [one.finished[0] for one in confirmed(folder, ranked, metric) if one.finished]
    if runs:
        return folder.confirmation, runs[0]
    if not ranked:
        see = f"hpo status {folder.name}"
        raise UserError(no_student(f"sweep {folder.name!r}", records, see))
    return folder, ranked[0]
