"""Measure the cost of STCD for a student on a GPU, with launched and with replayed steps.

Each function takes an empty folder and returns plain numbers. Needs a GPU, but no readings
(``benchmarks.problem``).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import compared
from benchmarks.problem import make_data, make_targets, train_student
from core.distillation.teacher_targets import TeacherTargets
from core.preprocessing.prepare import PreparedData
from core.training.step_replay import CudaGraphs

WINDOWS_PER_SEGMENT = 5


def stcd_epochs(folder: Path, cuda_graphs: bool) -> dict[str, Any]:
    """Compare ten STCD epochs with ten plain ones of the same student, both replayed or neither."""
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
    recorder = CudaGraphs() if cuda_graphs else None
    train_student(data, targets, WINDOWS_PER_SEGMENT, epochs, recorder)
