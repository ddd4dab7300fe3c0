"""A sweep's settings in, its plan out, or everything that is wrong with it.

All checks that need no training happen here, before anything is written: names, search space,
dataset, batch sizes, teacher. Runs and writes nothing itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

from core.datasets.loading import load_dataset
from core.distillation.losses import LOSSES
from core.errors import ConfigError, StorageError, UnknownNameError, UserError
from core.evaluation.forecasting import repeat_last
from core.experiments import check_sampling
from core.preprocessing.prepare import PreparedData, prepare
from core.preprocessing.windows import window_rows
from hpo.planning.networks import Networks, find_networks, student_sizes
from hpo.planning.places import Places
from hpo.planning.space_fitting import check_objectives, fit_space, largest_costs
from hpo.records.layout import RESERVED_NAMES
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.search.schedulers import make_scheduler
from hpo.space.search_space import SearchSpace, built_in_search_space
from hpo.sweep_config import SweepConfig


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
    if config.name in RESERVED_NAMES:
        raise ConfigError(f"a sweep cannot be called {config.name!r}; choose another name")
    make_scheduler(config.scheduler, metric=config.metric, mode="min", epochs=config.epochs)
    check_objectives(config)
    space = space or built_in_search_space(config.method)
    if space.method != config.method:
        raise ConfigError(
            f"the space must be one of method {config.method}, got one of {space.method}"
        )
    if config.loss_name not in LOSSES:
        raise UnknownNameError("loss", config.loss_name, LOSSES)
    check_sampling(config.method, config.pairs)
    dataset = load_dataset(places.data, config.dataset)
    data = prepare(dataset)
    _check_batches(space, data)
    check_is_new(SweepFolder(places.storage / config.name))
    networks = find_networks(config, places.storage, data)
    space = fit_space(space, student_sizes(config, data, networks.base))
    return make_plan(config, space, places, data, networks), data


def check_is_new(folder: SweepFolder) -> None:
    """Raise ``StorageError`` if the sweep has begun before."""
    folder.refresh()
    if folder.plan_file.exists():
        raise StorageError(
            f"a new sweep needs a new name, but {folder.name!r} exists in "
            f"{folder.storage_address}; go on with it by `hpo resume {folder.name}` or choose "
            "another --name"
        )


def make_plan(
    config: SweepConfig,
    space: SearchSpace,
    places: Places,
    data: PreparedData,
    networks: Networks,
) -> SweepPlan:
    """Fix what every trial of the sweep will rely on."""
    teacher, base = networks.teacher, networks.base
    baselines = {"repeat_last": _as_validation(repeat_last(data, "validation"))}
    reference: dict[str, float] = {}
    if len(config.objectives) > 1:
        largest = largest_costs(space, student_sizes(config, data, base))
        known = {**baselines["repeat_last"], **largest}
        reference = {name: known[name] for name in config.objectives}
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
        base_fingerprint=None if base is None else base.fingerprint,
        reference=reference,
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
    smallest, segment = space.smallest("batch_size"), space.largest("windows_per_segment")
    if smallest and segment > smallest:
        raise ConfigError(
            f"batch_size must be at least the {segment:g} windows of a segment, but the space goes "
            f"down to {smallest:g}; narrow it by --space or --set windows_per_segment=1"
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
