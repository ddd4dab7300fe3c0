"""Train one network over seeds in several variants.

``python -m benchmarks.student_errors DATASET …`` writes the validation errors of every run, their
mean and spread as JSON. This answers two questions that no single run can: whether the fast path
(stored targets, compiled terms) trains like the plain one, and how training by segments changes a
student, or a network of the teacher's size. Does not measure time, does not look at test days, and
does not repeat runs that are in the file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.seed_runs import Run, run_seeds
from core.datasets.loading import load_dataset
from core.distillation.correlation.terms import scd_loss, tcd_loss
from core.distillation.interface import LossValue
from core.distillation.losses import make_loss
from core.distillation.response import ord_loss
from core.distillation.teacher_targets import TeacherTargets
from core.errors import ConfigError
from core.experiments import StudentConfig, distill_student, new_network
from core.preprocessing.prepare import PreparedData, prepare
from core.shapes import Rows, WindowValues
from core.stgcn import STUDENT_CHANNELS, TEACHER_CHANNELS, Features, STGCNConfig
from core.training.teachers import Teacher, find_teacher
from core.training.trainer import Trainer, TrainingConfig

WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "ord": {"alpha1": 0.17},
    "stcd": {"alpha1": 0.17, "alpha2": 0.047, "alpha3": 0.313},
}
"""Table 6, PeMSD7."""


NETWORKS = {"student": STUDENT_CHANNELS, "teacher": TEACHER_CHANNELS}


class ReferencePath:
    """STCD on the reference path: the teacher runs on every batch, the terms are plain PyTorch."""

    def __init__(self, weights: Mapping[str, float], teacher: Teacher, data: PreparedData) -> None:
        """Take the teacher as a network, without stored targets."""
        self.weights = weights
        self.targets = TeacherTargets(None, {}, teacher.load(data), data, blocks=2)

    def __call__(
        self, prediction: WindowValues, features: Features, target: WindowValues, rows: Rows
    ) -> LossValue:
        """Compute the loss of one batch (``core.training.interface.Objective``)."""
        windows = features.windows_per_segment
        taught = self.targets.of(rows, make_loss("stcd", self.weights).needs, windows)
        terms: list[tuple[Any, Sequence[Tensor], Sequence[Any], float]] = [
            (scd_loss, features.spatial, taught.require_spatial(), self.weights["alpha2"]),
            (tcd_loss, features.temporal, taught.require_temporal(), 1 - self.weights["alpha2"]),
        ]
        total: Tensor = ord_loss(
            prediction, taught.require_prediction(), target, self.weights["alpha1"]
        )
        for term, own, wanted, share in terms:
            for layer, other in zip(own, wanted, strict=True):
                found = term(layer, other, backend="torch", windows_per_segment=windows)
                total = total + self.weights["alpha3"] * share * found
        return LossValue(total)


def main(arguments: list[str]) -> int:
    """Run what the file lacks and print the results of all runs."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = prepare(load_dataset(options.data, options.dataset))
    teacher = find_teacher(options.storage, data, None, "paper")
    for windows in options.windows_per_segment:
        training = TrainingConfig(
            options.epochs, options.batch_size, options.learning_rate, "adam", "cosine", windows
        )
        shape = "" if options.network == "student" else f"{options.network} "
        name = f"{shape}{options.method} {options.path} W={windows} epochs={options.epochs}"
        run = partial(_train, options, training, data, teacher)
        run_seeds(options.out, name, options.seeds, run)
    return 0


def _train(
    options: argparse.Namespace,
    training: TrainingConfig,
    data: PreparedData,
    teacher: Teacher | None,
    seed: int,
) -> Run:
    training, weights = replace(training, seed=seed), WEIGHTS[options.method]
    if options.path == "stored":
        config = StudentConfig(options.method, weights, training, NETWORKS[options.network])
        return distill_student(data, teacher, config, None, lambda report: None).metrics
    if options.method != "stcd" or teacher is None:
        raise ConfigError("the reference path is STCD's and needs a teacher: train one first")
    shape = STGCNConfig(data.card.num_sensors, STUDENT_CHANNELS, data.history_steps)
    model = new_network(shape, data.graph_kernel, training.seed)
    objective = ReferencePath(weights, teacher, data)
    return Trainer(model, data, objective, training).run(lambda report: None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.student_errors")
    parser.add_argument("dataset")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--storage", type=Path, default=Path("runs"))
    parser.add_argument("--method", choices=list(WEIGHTS), default="stcd")
    parser.add_argument("--path", choices=["stored", "reference"], default="stored")
    parser.add_argument("--windows-per-segment", type=int, nargs="+", default=[1])
    parser.add_argument("--network", choices=list(NETWORKS), default="student")
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
