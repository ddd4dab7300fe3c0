"""Repeat Tables 7 and 8 of the paper on other data.

``python -m benchmarks.pruned_students DATASET …`` trains a base and a teacher, prunes students over
several seeds, with and without knowledge distillation and all with the same budget of epochs, and
writes their errors as JSON. Does not choose anything by the test days: each finished student is
evaluated on them once. Does not measure time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from benchmarks.seed_runs import Run, run_seeds
from core.datasets.loading import load_dataset
from core.errors import ConfigError
from core.evaluation.forecasting import evaluate
from core.evaluation.profiling import count_flops, count_parameters
from core.experiments import prune_student, train_teacher
from core.preprocessing.prepare import PreparedData, prepare
from core.pruning import PruningConfig
from core.stgcn import PRUNING_BASE_CHANNELS
from core.training.teachers import Teacher, TeacherConfig, find_teacher
from core.training.trainer import TrainingConfig

TABLE_9: Mapping[int, Mapping[str, float]] = {
    25: {"alpha1": 0.971, "alpha2": 0.234, "alpha3": 0.684},
    50: {"alpha1": 0.935, "alpha2": 0.981, "alpha3": 0.129},
    75: {"alpha1": 0.963, "alpha2": 0.716, "alpha3": 0.081},
    97: {"alpha1": 0.099, "alpha2": 0.091, "alpha3": 0.531},
}
"""The paper's weights for PeMSD7 by the percentage of parameters that leaves."""


def main(arguments: list[str]) -> int:
    """Run what the file lacks."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = prepare(load_dataset(options.data, options.dataset))
    base, teacher = _base(options, data), _teacher(options.storage, data)
    for name, network in (("base", base), ("teacher", teacher)):
        run_seeds(options.out, name, 1, lambda _, network=network: _judged(network, data))  # type: ignore[misc]
    for percent in options.percent:
        for method in ("stcd", "none"):
            run = partial(_prune, options, method, percent, data, base, teacher)
            run_seeds(options.out, f"{options.base} -{percent}% {method}", options.seeds, run)
    return 0


def _prune(
    options: argparse.Namespace,
    method: str,
    percent: int,
    data: PreparedData,
    base: Teacher,
    teacher: Teacher,
    seed: int,
) -> Run:
    training = TrainingConfig(
        options.epochs,
        learning_rate=options.learning_rate,
        optimizer="adam",
        schedule="cosine",
        windows_per_segment=5,
        seed=seed,
    )
    weights = TABLE_9[percent] if method == "stcd" else {}
    config = PruningConfig(
        method,
        weights,
        training,
        pruning_interval=options.interval,
        fine_tuning_epochs=options.fine_tuning_epochs,
        pruning_ratio=percent / 100,
    )
    student = prune_student(data, base, teacher, config, None, lambda report: None)
    model = student.model
    return {
        **student.metrics,
        **{f"test_{name}": value for name, value in evaluate(model, data, "test").items()},
        "parameters": count_parameters(model),
        "flops": count_flops(model),
        "widths": [len(layer) for layer in model.config.kept_channels],
        "seconds": student.seconds,
    }


def _judged(network: Teacher, data: PreparedData) -> Run:
    model = network.load(data)
    test = {f"test_{name}": value for name, value in evaluate(model, data, "test").items()}
    return {**network.metrics, **test, "parameters": count_parameters(model)}


def _base(options: argparse.Namespace, data: PreparedData) -> Teacher:
    if options.base == "teacher":
        return _teacher(options.storage, data)
    config = TeacherConfig(PRUNING_BASE_CHANNELS)
    return train_teacher(data, config, options.storage, lambda report: None)


def _teacher(storage: Path, data: PreparedData) -> Teacher:
    teacher = find_teacher(storage, data, None, "paper")
    if teacher is None:
        raise ConfigError(f"there must be a teacher of {data.card.name}; train one by hpo teacher")
    return teacher


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pruned_students")
    parser.add_argument("dataset")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--storage", type=Path, default=Path("runs"))
    parser.add_argument("--base", choices=["table-1", "teacher"], default="table-1")
    parser.add_argument("--percent", type=int, nargs="+", choices=list(TABLE_9), required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5, help="Of Algorithm 1's loop.")
    parser.add_argument("--fine-tuning-epochs", type=int, default=5)
    parser.add_argument("--interval", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
