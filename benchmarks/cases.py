"""List all benchmarks as rows: what is measured, the target, and the function that measures it.

Each function takes an empty folder and returns plain values. A new benchmark is a function and a
row of ``CASES``. Does not run them (``benchmarks.run`` does) and does not assert targets.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import exported_students, gpu_students, samplers
from benchmarks.measuring import compared, timed
from benchmarks.problem import (
    NUM_SENSORS,
    make_data,
    make_network,
    make_targets,
    train_network,
    train_student,
)
from benchmarks.settled_sweeps import settling
from benchmarks.sweeps import efficiency, overhead, resuming, tpe_against_random
from benchmarks.trial_memory import measure_trials
from core.distillation.correlation.step_tables import StoredDistances, to_fixed_point
from core.distillation.correlation.terms import node_distances, scd_loss
from core.distillation.losses import make_loss
from core.evaluation.forecasting import WINDOWS_PER_PASS, evaluate, roll_out
from core.experiments import DistillationObjective
from core.families.networks import SingleNetwork
from core.forms import FORMS
from core.stgcn import TEACHER_CHANNELS


@dataclass(frozen=True)
class Case:
    """One benchmark."""

    name: str
    measures: str
    reach: str
    run: Callable[[Path], dict[str, Any]]
    needs_gpu: bool = False


def stcd_epoch(folder: Path, windows_per_segment: int) -> dict[str, Any]:
    """Compare an STCD epoch with a plain epoch of the same student."""
    data = make_data(folder, training_days=22, validation_days=4)
    targets = make_targets(folder, data)
    plain = functools.partial(train_student, data, None, windows_per_segment)
    stcd = functools.partial(train_student, data, targets, windows_per_segment)
    return compared(plain, stcd, repetitions=5)


def scd_step(folder: Path) -> dict[str, Any]:
    """Compare SCD of the first block, forward and backward, with ``torch.cdist``."""
    student = torch.randn(50, 10, 2, NUM_SENSORS).transpose(1, 2).requires_grad_()
    teacher = torch.randn(50, 10, 32, NUM_SENSORS).transpose(1, 2)
    distances = node_distances(teacher).flatten(0, 1)
    table = to_fixed_point(distances, torch.zeros(len(distances)))
    stored = StoredDistances(table, torch.arange(0, 500, 10))

    def base() -> None:
        torch.autograd.grad(_scd_by_cdist(student, teacher), student)

    def fused() -> None:
        torch.autograd.grad(scd_loss(student, stored), student)

    return compared(base, fused, repetitions=7)


def target_building(folder: Path, form: str, steps_per_pass: int) -> dict[str, Any]:
    """Time building the targets of STCD for 22 training days."""
    data = make_data(folder, training_days=22, validation_days=4)

    def build() -> None:
        shutil.rmtree(folder / "targets", ignore_errors=True)
        make_targets(folder, data, form, steps_per_pass)

    found = timed(build, repetitions=3)
    stored = sum(path.stat().st_size for path in (folder / "targets").rglob("*.safetensors"))
    return {**found, "megabytes": stored / 1e6}


def teacher_epoch(folder: Path) -> dict[str, Any]:
    """Compare a teacher's epoch by segments of 5 windows with one window by window.

    Returns:
        Times of whole epochs with validation; ``training_ratio``: of their training steps alone.
    """
    data = make_data(folder, training_days=4, validation_days=1)
    objective = DistillationObjective(make_loss("none", {}), None)
    train = functools.partial(train_network, data, TEACHER_CHANNELS, objective)
    whole = compared(functools.partial(train, 1), functools.partial(train, 5), repetitions=3)
    judge = functools.partial(
        evaluate, make_network(data, TEACHER_CHANNELS), data, part="validation"
    )
    judged = timed(judge, repetitions=3)["seconds"]
    base, other = whole["base_seconds"] - judged, whole["other_seconds"] - judged
    return {**whole, "validation_seconds": judged, "training_ratio": other / base}


def direct_epoch(folder: Path) -> dict[str, Any]:
    """Compare an epoch of a direct student with one of a one-step student of the same widths.

    Returns:
        Times of whole epochs with validation, by segments of 5 windows; ``validation_ratio``: of
        the validation alone.
    """
    data = make_data(folder, training_days=22, validation_days=4)
    objective = DistillationObjective(make_loss("none", {}), None)
    widths = FORMS["direct"].student
    train = functools.partial(train_network, data, widths, objective, 5)
    whole = compared(train, functools.partial(train, form="direct"), repetitions=5)
    base, other = (
        functools.partial(evaluate, make_network(data, widths, form), data, part="validation")
        for form in ("paper", "direct")
    )
    return {**whole, "validation_ratio": compared(base, other, repetitions=5)["ratio"]}


def direct_forecasts(folder: Path, windows: int) -> dict[str, Any]:
    """Compare the paper's teacher with a direct student over consecutive windows, both in PyTorch.

    Both share all columns that several windows have in common; the teacher rolls out nine steps.
    """
    data = make_data(folder, training_days=1, validation_days=1)
    student = make_network(data, FORMS["direct"].student, "direct")
    teacher = make_network(data, TEACHER_CHANNELS)

    def forecast(model: SingleNetwork) -> None:
        most = WINDOWS_PER_PASS["cpu"]
        for first in range(0, windows, most):
            count = min(most, windows - first)
            roll_out(model, seen[first : first + count + data.history_steps - 1], 9)

    seen = torch.randn(windows + data.history_steps - 1, NUM_SENSORS)
    base, other = (functools.partial(forecast, model) for model in (student, teacher))
    return compared(base, other, repetitions=3)


def trial_memory(folder: Path) -> dict[str, Any]:
    """Measure the private memory of further trials on a node."""
    data = make_data(folder, training_days=22, validation_days=4)
    make_targets(folder, data)
    return measure_trials(folder, trials=2)


def _scd_by_cdist(student: Tensor, teacher: Tensor) -> Tensor:
    own, wanted = (
        torch.cdist(nodes, nodes, p=1.0) / nodes.shape[-1]
        for nodes in (signal.permute(0, 2, 3, 1).flatten(0, 1) for signal in (student, teacher))
    )
    return F.mse_loss(own, wanted)


CASES = (
    Case(
        "stcd-epoch",
        "STCD epoch / plain epoch of the same student, window by window",
        "<= 2.5, beyond: <= 1.5",
        functools.partial(stcd_epoch, windows_per_segment=1),
    ),
    Case(
        "stcd-epoch-segments",
        "STCD epoch / plain epoch of the same student, both by segments of 5 windows",
        "<= 2.5, beyond: <= 1.5",
        functools.partial(stcd_epoch, windows_per_segment=5),
    ),
    Case(
        "scd-step",
        "SCD of the first block, forward and backward / the same with torch.cdist",
        "<= 1/12, beyond: <= 1/25",
        scd_step,
    ),
    *(
        Case(
            f"targets{suffix}",
            f"building STCD's targets of a {form} teacher for students of {steps} steps, 22 days",
            "<= 10 s, beyond: <= 4 s",
            functools.partial(target_building, form=form, steps_per_pass=steps),
        )
        for suffix, form, steps in (
            ("", "paper", 1),
            ("-rolled-out", "paper", 9),
            ("-direct", "direct", 9),
        )
    ),
    Case(
        "teacher-epoch",
        "a teacher's epoch by segments of 5 windows / window by window, 4 days",
        "training steps <= 1/2.5, beyond: <= 1/4",
        teacher_epoch,
    ),
    Case(
        "direct-epoch",
        "a direct student's epoch with validation / a one-step student's of the same widths",
        "<= 1",
        direct_epoch,
    ),
    *(
        Case(
            f"forecast-direct-{windows}-windows",
            "the paper's teacher / a direct student over consecutive windows, both in PyTorch",
            ">= 200" if windows > 1 else "is reported",
            functools.partial(direct_forecasts, windows=windows),
        )
        for windows in (1, 1140)
    ),
    Case("trial-memory", "private memory per further STCD trial", "<= 150 MB", trial_memory),
    Case(
        "sweep-overhead",
        "what a trial costs beyond its training, 100 short trials on two workers",
        "<= 0.15 s",
        overhead,
    ),
    Case(
        "sweep-efficiency",
        "training seconds / (wall seconds x workers), 20 trials of ORD, PeMSD7's size, 30 days",
        ">= 0.9",
        efficiency,
    ),
    Case(
        "resume",
        "`hpo resume` of a sweep of 1,000 trials, until it hands out the next",
        "<= 10 s",
        resuming,
    ),
    Case(
        "tpe-asha",
        "random search / TPE with ASHA: trials and epochs until within 1 % of the best, 5 repeats",
        "is reported",
        tpe_against_random,
    ),
    *(
        Case(
            f"samplers{suffix}-{trials}",
            f"lowest made-up error of {trials} trials less that of TPE, 95 % interval, 10 repeats",
            "is reported",
            functools.partial(samplers.one_objective, trials=trials, limited=bool(suffix)),
        )
        for suffix in ("", "-limited")
        for trials in (20, 40, 100)
    ),
    *(
        Case(
            f"samplers-two-objectives-{trials}",
            f"hypervolume of {trials} made-up trials less that of TPE, 95 % interval, 10 repeats",
            "is reported",
            functools.partial(samplers.two_objectives, trials=trials),
        )
        for trials in (40, 100)
    ),
    Case(
        "settling",
        "trials of sweeps that stop when settled / all 60, and the error that they lose, 3 seeds",
        "is reported",
        settling,
    ),
    *(
        Case(
            f"export{suffix}-{windows}-windows-{threads}-threads",
            f"the paper's teacher in PyTorch / exported {form} student in ONNX Runtime, nine steps",
            reach if windows > 1 else "beyond the paper's 6",
            functools.partial(exported_students.speed, windows=windows, threads=threads, form=form),
        )
        for form, suffix, reach in (("paper", "", ">= 30"), ("direct", "-direct", ">= 200"))
        for windows in (1, 1140)
        for threads in (1, 2)
    ),
    *(
        Case(
            f"gpu-stcd-epoch-{steps}",
            f"STCD epochs / plain epochs on a GPU, steps {steps}",
            "<= 1.5",
            functools.partial(gpu_students.stcd_epochs, cuda_graphs=steps == "replayed"),
            needs_gpu=True,
        )
        for steps in ("launched", "replayed")
    ),
    Case(
        "gpu-stcd-trial",
        "an STCD trial of 50 epochs on a GPU, steps replayed / launched",
        "under 10 s on an H200",
        gpu_students.stcd_trial,
        needs_gpu=True,
    ),
)
