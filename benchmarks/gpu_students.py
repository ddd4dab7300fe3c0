"""What STCD costs a student on a GPU, with its steps launched one by one or replayed from a graph.

Each function takes an empty folder and returns plain numbers. Needs a GPU, but no readings: see
``problem``.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import compared
from benchmarks.problem import STCD, make_data, make_network, make_targets
from core.distillation.losses import make_loss
from core.distillation.teacher_targets import TeacherTargets
from core.experiments import DistillationObjective
from core.preprocessing.prepare import PreparedData
from core.step_replay import CudaGraphs
from core.stgcn import STUDENT_CHANNELS
from core.training import Trainer, TrainingConfig

WINDOWS_PER_SEGMENT = 5


def stcd_epochs(folder: Path, cuda_graphs: bool) -> dict[str, Any]:
    """Compare ten STCD epochs with as many plain ones of the same student, both recorded or not."""
    data, targets = _problem(folder)
    plain = functools.partial(_train, data, None, 10, cuda_graphs)
    stcd = functools.partial(_train, data, targets, 10, cuda_graphs)
    return compared(plain, stcd, repetitions=3)


def stcd_trial(folder: Path) -> dict[str, Any]:
    """Compare an STCD trial of 50 epochs whose steps are replayed with one that launches them."""
    data, targets = _problem(folder)
    launched = functools.partial(_train, data, targets, 50, False)
    replayed = functools.partial(_train, data, targets, 50, True)
    return compared(launched, replayed, repetitions=3)


def _problem(folder: Path) -> tuple[PreparedData, TeacherTargets]:
    data = make_data(folder, training_days=22, validation_days=4).to(torch.device("cuda"))
    return data, make_targets(folder, data)


def _train(
    data: PreparedData, targets: TeacherTargets | None, epochs: int, cuda_graphs: bool
) -> None:
    """Train a fresh student; its validation errors are read, so the GPU has ended."""
    loss = make_loss("none", {}) if targets is None else make_loss("stcd", STCD)
    config = TrainingConfig(epochs=epochs, windows_per_segment=WINDOWS_PER_SEGMENT)
    recorder = CudaGraphs() if cuda_graphs else None
    objective = DistillationObjective(loss, targets)
    student = make_network(data, STUDENT_CHANNELS)
    trainer = Trainer(student, data, objective, config, recorder=recorder)
    trainer.run(lambda report: None)
