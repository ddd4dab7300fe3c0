"""A sweep's settings in, its plan out, or everything that is wrong with it.

All checks that need no training happen here, before anything is written: names, search space,
dataset, batch sizes, teacher. Runs and writes nothing itself.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from core.datasets.loading import load_dataset
from core.distillation.losses import LOSSES
from core.errors import ConfigError, StorageError, UserError
from core.experiments import TargetStorage, check_sampling
from core.forecasting import repeat_last
from core.preprocessing.prepare import PreparedData, prepare
from core.preprocessing.windows import window_rows
from core.teachers import Teacher, find_teacher
from hpo.samplers import make_sampler
from hpo.schedulers import make_scheduler
from hpo.search_space import SearchSpace, built_in_search_space
from hpo.sweep_config import SweepConfig
from hpo.sweep_store import TEACHERS, SweepFolder, SweepPlan


@dataclass(frozen=True)
class Places:
    """Where a sweep reads and writes."""

    data: Path = Path("data")
    """Folder of datasets."""
    storage: Path = Path("runs")
    """Folder of sweeps and teachers."""
    address: str = "local"
    """Of a Ray cluster; ``local`` starts one on this machine."""


def target_storage(config: SweepConfig) -> TargetStorage:
    """Return where this machine keeps teachers' targets: ``HPO_CACHE``, or beside each teacher.

    Where several machines share their storage over a network, targets belong on a disk of their
    own: trials read them at every step.
    """
    cache = os.environ.get("HPO_CACHE")
    budget = int(config.targets_gigabytes * 1e9)
    return TargetStorage(Path(cache) if cache else None, budget)


def plan_sweep(
    config: SweepConfig, places: Places, space: SearchSpace | None = None
) -> tuple[SweepPlan, PreparedData]:
    """Check everything that can be checked before anything is written or trained.

    Args:
        config: the sweep's settings.
        places: where things lie.
        space: None takes the project's own space of the method.

    Raises:
        UserError: with what to do about it.
    """
    if config.name == TEACHERS:
        raise ConfigError(f"a sweep cannot be called {TEACHERS!r}; choose another name")
    make_scheduler(config.scheduler, metric=config.objective, mode="min", epochs=config.epochs)
    make_sampler(config.sampler, config.seed)
    space = space or built_in_search_space(config.method)
    if space.method != config.method:
        raise ConfigError(
            f"the space must be one of method {config.method}, got one of {space.method}"
        )
    check_sampling(config.method, config.pairs)
    dataset = load_dataset(places.data, config.dataset)
    data = prepare(dataset)
    _check_batches(space, data)
    check_is_new(SweepFolder(places.storage / config.name))
    teacher = None
    if LOSSES[config.method].needs:
        teacher = find_teacher(places.storage, data, config.teacher)
    return make_plan(config, space, places, data, teacher), data


def check_is_new(folder: SweepFolder) -> None:
    """Raise ``StorageError`` if the sweep has begun before."""
    if folder.plan_file.exists():
        raise StorageError(
            f"a new sweep needs a new name, but {folder.name!r} exists in {folder.storage}; "
            f"go on with it by `hpo resume {folder.name}` or choose another --name"
        )


def make_plan(
    config: SweepConfig,
    space: SearchSpace,
    places: Places,
    data: PreparedData,
    teacher: Teacher | None,
) -> SweepPlan:
    """Fix what every trial of the sweep will rely on."""
    baselines = {"repeat_last": _as_validation(repeat_last(data, "validation"))}
    if teacher is not None:
        baselines["teacher"] = teacher.metrics
    return SweepPlan(
        config=config,
        space=space,
        data_folder=str(places.data.resolve()),
        dataset_fingerprint=data.fingerprint,
        teacher_fingerprint=None if teacher is None else teacher.fingerprint,
        baselines=baselines,
        command=" ".join(["hpo", *sys.argv[1:]]),
    )


def _as_validation(metrics: dict[str, float]) -> dict[str, float]:
    return {f"val_{name}": value for name, value in metrics.items()}


def _check_batches(space: SearchSpace, data: PreparedData) -> None:
    windows = len(window_rows(data.stretches("train"), data.window_steps))
    largest = space.largest("batch_size")
    if largest > windows:
        raise ConfigError(
            f"batch_size must not exceed the {windows} training windows of {data.card.name}, but "
            f"the space goes up to {largest:g}; narrow it by --space or --set batch_size={windows}"
        )


def open_planned_data(plan: SweepPlan) -> PreparedData:
    """Open the data of a sweep that has begun.

    Raises:
        UserError: it is not what the sweep began with.
    """
    data = prepare(load_dataset(Path(plan.data_folder), plan.config.dataset))
    if data.fingerprint != plan.dataset_fingerprint:
        raise UserError(
            f"sweep {plan.config.name!r} must go on with the data it began with, but dataset "
            f"{plan.config.dataset!r} has changed; import it under another name and start anew"
        )
    return data
