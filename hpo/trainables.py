"""One trial as Ray Tune runs it: its number, seed and settings in, a report per epoch out.

A thin adapter around ``core.experiments``. Workers read the sweep's plan from its folder, write
the student and their own checkpoints there, and leave ledger, records and the deletion of
checkpoints to the driver.
"""

from __future__ import annotations

import os
import platform
import traceback
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from ray import tune

from core.checkpoint import CheckpointFolder, save_model
from core.datasets.loading import load_dataset
from core.devices import choose_device
from core.distillation.losses import LOSSES
from core.errors import TrainingDivergedError, UserError
from core.experiments import StudentConfig, TrainedStudent, distill_student
from core.preprocessing.prepare import PreparedData, prepare
from core.profiling import count_flops, count_parameters
from core.teachers import find_teacher
from core.training import EpochReport, TrainingConfig
from hpo.planning import target_storage
from hpo.sweep_store import SweepFolder, SweepPlan


def run_trial(config: dict[str, Any]) -> None:
    """Train one student and report to Ray Tune.

    After every epoch: ``trial``, ``epoch`` and the metrics. At the end once more, with ``ended``
    and what the record needs; a trial that fails by itself says so there, with its reason, and
    raises nothing, so that the sweep goes on.

    Args:
        config: ``sweep`` (its folder), ``trial`` (its number), ``seed`` and ``settings``.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    trial = int(config["trial"])

    def on_epoch(report: EpochReport) -> None:
        tune.report({"trial": trial, "epoch": report.epoch, **report.metrics})

    try:
        final = _train(SweepFolder(Path(config["sweep"])), trial, config, on_epoch)
    except (TrainingDivergedError, UserError) as error:
        final = {"status": "failed", "reason": str(error)}
    except torch.OutOfMemoryError as error:
        reason = f"out of GPU memory: {error}; ask for more with --gpus-per-trial"
        final = {"status": "failed", "reason": reason}
    except Exception as error:  # noqa: BLE001 - whatever ends a trial must not end the sweep
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        final = {"status": "failed", "reason": reason}
    tune.report({"trial": trial, "ended": True, **final})


def student_config(
    method: str, settings: Mapping[str, Any], epochs: int, seed: int, pairs: int | None = None
) -> StudentConfig:
    """Sort a trial's settings into the loss's weights and those of training."""
    names = [field.name for field in fields(LOSSES[method])]
    weights = {name: float(settings[name]) for name in names if name in settings}
    training = {name: value for name, value in settings.items() if name not in weights}
    trained = TrainingConfig(epochs=epochs, seed=seed, **training)
    return StudentConfig(method, weights, trained, pairs=pairs)


@lru_cache(maxsize=1)
def open_plan(folder: SweepFolder) -> tuple[SweepPlan, PreparedData]:
    """Read a sweep's plan and data, once per worker process however many trials it runs."""
    plan = folder.read_plan()
    dataset = load_dataset(Path(plan.data_folder), plan.config.dataset)
    return plan, prepare(dataset).to(choose_device())


def _train(
    folder: SweepFolder, trial: int, config: dict[str, Any], on_epoch: Any
) -> dict[str, Any]:
    plan, data = open_plan(folder)
    teacher = None
    if plan.teacher_fingerprint is not None:
        teacher = find_teacher(folder.storage, data, plan.teacher_fingerprint)
    sweep = plan.config
    settings = student_config(
        sweep.method, config["settings"], sweep.epochs, config["seed"], sweep.pairs
    )
    checkpoints = CheckpointFolder(folder.checkpoints(trial))
    storage = target_storage(plan.config)
    student = distill_student(data, teacher, settings, checkpoints, on_epoch, storage)
    save_model(folder.student(trial), student.model, {"trial": trial, "sweep": folder.name})
    return _facts(student)


def _facts(student: TrainedStudent) -> dict[str, Any]:
    return {
        "status": "finished",
        "reason": None,
        "epoch": student.epochs,
        "best_epoch": student.best_epoch,
        "seconds": student.seconds,
        "machine": platform.node(),
        "parameters": count_parameters(student.model),
        "flops": count_flops(student.model),
        **student.metrics,
    }
