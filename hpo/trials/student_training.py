"""Train the student of one trial from a sweep's folder, the trial's settings and its seed.

Used by Ray's workers and by reruns of single trials. Writes checkpoints and, where asked to, the
student and the teacher targets; reports epochs by ``on_epoch``. Uses no Ray and writes no records.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import torch

from core.checkpoint import CheckpointFolder, save_model
from core.datasets.loading import load_dataset
from core.devices import choose_device
from core.distillation.layer_alignment import Students
from core.distillation.losses import LOSSES
from core.distillation.target_building import OnProgress
from core.experiments import (
    OnEpoch,
    TargetStorage,
    TrainedStudent,
    distill_student,
    open_targets,
    prune_student,
)
from core.files import write_json
from core.forms import find_form
from core.preprocessing.prepare import PreparedData, prepare
from core.training.teacher_files import teacher_folder
from core.training.teachers import find_teacher, open_teacher
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.space.parameters import BLOCKS
from hpo.sweep_config import SweepConfig
from hpo.trials.trial_settings import pruning_config, student_config


def target_storage(config: SweepConfig) -> TargetStorage:
    """Return where this machine stores teacher targets: ``HPO_CACHE``, or beside each teacher.

    Where machines share their storage over a network, targets belong on a local disk: trials read
    them at every step.
    """
    cache = os.environ.get("HPO_CACHE")
    budget = int(config.targets_gigabytes * 1e9)
    return TargetStorage(Path(cache) if cache else None, budget)


@lru_cache(maxsize=1)
def open_plan(folder: SweepFolder) -> tuple[SweepPlan, PreparedData]:
    """Read a sweep's plan and data, once per worker process however many trials it runs."""
    plan = folder.read_plan()
    dataset = load_dataset(Path(plan.data_folder), plan.config.dataset)
    return plan, prepare(dataset, gaps=plan.config.gaps).to(choose_device())


def use_threads(most: int) -> None:
    """Set torch to ``OMP_NUM_THREADS`` threads, or ``most``: how sums are split changes them."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", most)))


def build_targets(
    folder: SweepFolder,
    plan: SweepPlan,
    data: PreparedData,
    on_progress: OnProgress | None = None,
) -> None:
    """Build the teacher targets that trials of this machine map; nothing without a teacher."""
    needs = LOSSES[plan.config.loss_name].needs
    if not needs or plan.teacher_fingerprint is None:
        return
    teacher = find_teacher(folder.storage, data, plan.teacher_fingerprint)
    if teacher is not None:
        storage, here = target_storage(plan.config), data.to(choose_device())
        for steps, blocks in product(_steps_per_pass(folder, plan, data), _blocks(plan)):
            students = Students(steps, blocks, plan.config.family)
            open_targets(here, teacher, needs, storage, on_progress, students)


def _blocks(plan: SweepPlan) -> list[int | None]:
    """Return how many ST blocks students have; None: as many as usual."""
    if BLOCKS not in plan.space.parameters:
        return [None]
    ends = plan.space.smallest(BLOCKS), plan.space.largest(BLOCKS)
    return list(range(int(ends[0]), int(ends[1]) + 1))


def _steps_per_pass(folder: SweepFolder, plan: SweepPlan, data: PreparedData) -> list[int]:
    """Return how many time steps the students of a sweep predict; several where forms vary."""
    if plan.base_fingerprint is not None:
        base = open_teacher(teacher_folder(folder.storage, plan.base_fingerprint))
        return [base.config.steps_per_pass]
    forms = plan.space.values_of("form") or (plan.config.form,)
    heads = {find_form(str(form)).network.head for form in forms}
    return sorted(data.horizon_steps if head == "horizon" else 1 for head in heads)


def train_trial(
    folder: SweepFolder,
    settings: dict[str, Any],
    seed: int,
    checkpoints: CheckpointFolder | None,
    on_epoch: OnEpoch,
) -> TrainedStudent:
    """Train one student as the sweep in ``folder`` would.

    Args:
        folder: of a sweep, or of its confirmation.
        settings: chosen by the search.
        seed: of the trial.
        checkpoints: of this run; None: none are written or read.
        on_epoch: called after every epoch.

    Raises:
        TrainingDivergedError: loss or weights are no longer finite.
        UserError: these settings give no valid student.
    """
    plan, data = open_plan(folder)
    teacher = None
    if plan.teacher_fingerprint is not None:
        teacher = find_teacher(folder.storage, data, plan.teacher_fingerprint)
    storage = target_storage(plan.config)
    if plan.base_fingerprint is not None:
        base = open_teacher(teacher_folder(folder.storage, plan.base_fingerprint))
        pruning = pruning_config(plan.config, settings, seed)
        return prune_student(data, base, teacher, pruning, checkpoints, on_epoch, storage)
    sweep = plan.config
    wanted = student_config(sweep, settings, seed)
    return distill_student(data, teacher, wanted, checkpoints, on_epoch, storage, sweep.cuda_graphs)


def save_student(folder: SweepFolder, trial: int, student: TrainedStudent) -> None:
    """Write a trial's student and, if it was pruned, its pruning trajectory."""
    if student.trajectory is not None:
        write_json(folder.trajectory(trial), [asdict(step) for step in student.trajectory])
    save_model(folder.student(trial), student.model, {"trial": trial, "sweep": folder.name})
