"""One trial as Ray Tune runs it: its number, seed and settings in, a report per epoch out.

A thin adapter around ``core.experiments``. Workers read the sweep's plan from its folder, write
the student and their own checkpoints there, and leave ledger, records and the deletion of
checkpoints to the driver.
"""

from __future__ import annotations

import os
import platform
import traceback
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from ray import tune

from core.checkpoint import CheckpointFolder, save_model
from core.datasets.loading import load_dataset
from core.devices import choose_device
from core.errors import StorageError, TrainingDivergedError, UserError
from core.experiments import TrainedStudent, distill_student, prune_student
from core.files import write_json
from core.preprocessing.prepare import PreparedData, prepare
from core.profiling import count_flops, count_parameters
from core.teachers import find_teacher, open_teacher, teacher_folder
from core.training import EpochReport
from hpo.planning import target_storage
from hpo.storage_faults import STOPPED, storage_faults_told
from hpo.sweep_store import SweepFolder, SweepPlan
from hpo.trial_settings import pruning_config, student_config


def run_trial(config: dict[str, Any]) -> None:
    """Train one student and report to Ray Tune.

    After every epoch: ``trial``, ``epoch`` and the metrics. At the end once more, with ``ended``
    and what the record needs; a trial that fails by itself says so there, with its reason, and
    raises nothing, so that the sweep goes on. One that fails for its storage says ``stopped``.

    Args:
        config: ``sweep`` (its folder), ``trial`` (its number), ``seed`` and ``settings``.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    trial = int(config["trial"])

    def on_epoch(report: EpochReport) -> None:
        tune.report({"trial": trial, "epoch": report.epoch, **report.metrics})

    folder = SweepFolder(Path(config["sweep"]))
    try:
        with storage_faults_told(folder):
            final = _train(folder, trial, config, on_epoch)
    except StorageError as error:
        final = {"status": STOPPED, "reason": str(error)}
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
    checkpoints = CheckpointFolder(folder.checkpoints(trial))
    storage = target_storage(plan.config)
    settings, seed = config["settings"], config["seed"]
    if plan.base_fingerprint is not None:
        base = open_teacher(teacher_folder(folder.storage, plan.base_fingerprint))
        pruning = pruning_config(plan.config, settings, seed)
        student = prune_student(data, base, teacher, pruning, checkpoints, on_epoch, storage)
        steps = [asdict(step) for step in student.trajectory or []]
        write_json(folder.trajectory(trial), steps)
    else:
        sweep = plan.config
        wanted = student_config(sweep.method, settings, sweep.epochs, seed, sweep.pairs)
        student = distill_student(data, teacher, wanted, checkpoints, on_epoch, storage)
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
