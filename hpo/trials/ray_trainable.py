"""Run one trial as Ray Tune's trainable and report every epoch to it.

A thin adapter around ``hpo.trials.student_training``. Workers read the sweep's plan from its folder
and write the student and their own checkpoints there. Ledger, records and the deletion of
checkpoints belong to the driver. Where the folder mirrors an object store, files are uploaded
before an epoch or the end is reported.
"""

from __future__ import annotations

import platform
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ray import tune

from core.checkpoint import CheckpointFolder
from core.errors import StorageError, TrainingDivergedError, UserError
from core.evaluation.profiling import count_parameters
from core.experiments import TrainedStudent
from core.training.trainer import EpochReport, last_epochs
from hpo.records.storage_faults import STOPPED, storage_faults_reported
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_state import OUT_OF_MEMORY
from hpo.records.trial_files import TrialFiles, open_sweep
from hpo.trials.student_training import save_student, train_trial, use_threads
from hpo.trials.trial_settings import shape_flops


def run_trial(config: dict[str, Any]) -> None:
    """Train one student and report to Ray Tune.

    Every epoch reports ``trial``, ``epoch`` and the metrics. A trial that resumes reports its last
    epochs again, since its worker may have died before the driver received them. The final report
    has ``ended`` and what the record needs. A trial that fails by itself reports ``failed`` and the
    reason there instead of raising, so that the sweep goes on; one that fails because of its
    storage reports ``stopped``, one whose GPU has too little memory ``OUT_OF_MEMORY``.

    Args:
        config: ``sweep`` (its address), ``trial`` (its number), ``seed`` and ``settings``.
    """
    use_threads(1)
    trial = int(config["trial"])

    def report(epoch: int, metrics: dict[str, float]) -> None:
        tune.report({"trial": trial, "epoch": epoch, **metrics})

    folder = open_sweep(config["sweep"])
    try:
        with storage_faults_reported(folder):
            final = _train(folder, trial, config, report)
    except StorageError as error:
        final = {"status": STOPPED, "reason": str(error)}
    except (TrainingDivergedError, UserError) as error:
        final = {"status": "failed", "reason": str(error)}
    except torch.OutOfMemoryError as error:
        reason = f"out of GPU memory: {error}; ask for more with --gpus-per-trial"
        final = {"status": OUT_OF_MEMORY, "reason": reason}
    except Exception as error:  # noqa: BLE001 - whatever ends a trial must not end the sweep
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        final = {"status": "failed", "reason": reason}
    tune.report({"trial": trial, "ended": True, **final})


def _train(
    folder: SweepFolder,
    trial: int,
    config: dict[str, Any],
    report: Callable[[int, dict[str, float]], None],
) -> dict[str, Any]:
    checkpoints, files = CheckpointFolder(folder.checkpoints(trial)), TrialFiles(folder, trial)
    files.download()
    # The driver may have missed two epochs: one was being reported, the next had just been saved.
    for epoch, metrics in last_epochs(checkpoints):
        report(epoch, metrics)

    def on_epoch(ended: EpochReport) -> None:
        files.upload_checkpoints()
        report(ended.epoch, ended.metrics)

    student = train_trial(folder, config["settings"], config["seed"], checkpoints, on_epoch)
    save_student(folder, trial, student)
    files.upload_student()
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
        "flops": shape_flops(student.model.config),
        **student.metrics,
    }
