"""Check a new sweep's settings, then fix its plan once its teacher is there.

All checks that need no training come first, before anything is written: names, search space,
dataset, batch sizes, teacher. Trains and writes nothing.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from core.datasets.loading import load_dataset
from core.distillation.losses import LOSSES
from core.errors import ConfigError, StorageError, UnknownNameError, UserError
from core.evaluation.forecasting import repeat_last
from core.experiments import check_sampling
from core.families import DEFAULT_FAMILY
from core.forms import form_of
from core.preprocessing.prepare import PreparedData, prepare
from hpo.planning.networks import Networks, check_layers, find_networks, student_sizes
from hpo.planning.places import Places
from hpo.planning.space_fitting import check_objectives, fit_space, largest_costs
from hpo.planning.told_trials import Told, without_told
from hpo.records.layout import RESERVED_NAMES
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan, ToldTrial
from hpo.search.samplers import AUTO_SAMPLER, choose_sampler
from hpo.search.schedulers import make_scheduler
from hpo.space.search_space import SearchSpace, built_in_search_space, check_method
from hpo.sweep_config import SweepConfig
from hpo.trials.student_costs import LatencyOf, timed_once


@dataclass(frozen=True)
class CheckedSweep:
    """A new sweep that passed every check which needs no training."""

    config: SweepConfig
    space: SearchSpace
    """Fitted to the sweep's loss, base and budget."""
    places: Places
    data: PreparedData
    networks: Networks
    """Those that are trained so far."""
    latency_of: LatencyOf
    """Times each shape once, from the checks to the last trial."""
    told: tuple[ToldTrial, ...] = ()


def with_chosen_sampler(config: SweepConfig) -> tuple[SweepConfig, str]:
    """Return a sweep's settings with a sampler in place of ``auto``, and why that one.

    The reason is empty where the sampler was named.
    """
    if config.sampler != AUTO_SAMPLER:
        return config, ""
    sampler, reason = choose_sampler(config.trials, len(config.objectives))
    return replace(config, sampler=sampler), f"sampler {sampler}, {reason}"


def plan_sweep(
    config: SweepConfig, places: Places, space: SearchSpace | None = None, told: Told | None = None
) -> tuple[SweepPlan, PreparedData]:
    """Return the plan that a sweep would have with the networks trained so far, and its data.

    Args and errors are those of ``check_sweep``.
    """
    checked = check_sweep(config, places, space, told)
    return make_plan(checked), checked.data


def check_sweep(
    config: SweepConfig, places: Places, space: SearchSpace | None = None, told: Told | None = None
) -> CheckedSweep:
    """Check everything that can be checked before anything is written or trained.

    Args:
        config: the sweep's settings.
        places: its datasets, storage and cluster.
        space: None takes the project's own space of the method.
        told: what another sweep found.

    Raises:
        UserError: with what to do about it.
    """
    config, _ = with_chosen_sampler(config)
    if config.name in RESERVED_NAMES:
        raise ConfigError(f"a sweep cannot be called {config.name!r}; choose another name")
    make_scheduler(config.scheduler, metric=config.metric, mode="min", epochs=config.epochs)
    check_objectives(config)
    check_method(config.method)
    space = space or built_in_search_space(config.method, config.form)
    if space.method != config.method:
        raise ConfigError(
            f"the space must be one of method {config.method}, got one of {space.method}"
        )
    if config.loss_name not in LOSSES:
        raise UnknownNameError("loss", config.loss_name, LOSSES)
    check_sampling(config.method, config.pairs)
    dataset = load_dataset(places.data, config.dataset)
    data = prepare(dataset, gaps=config.gaps)
    if told is not None:
        told.check_data(data.fingerprint)
    check_is_new(SweepFolder(places.storage / config.name))
    networks = find_networks(config, places.storage, data)
    _check_base(config, networks)
    check_layers(config, networks.teacher, places.storage, data)
    latency_of = timed_once(data)
    space = fit_space(space, student_sizes(config, data, networks.base), latency_of)
    known = () if told is None else told.trials
    space = without_told(space, known)
    return CheckedSweep(config, space, places, data, networks, latency_of, known)


def _check_base(config: SweepConfig, networks: Networks) -> None:
    """Refuse to prune a network of another kind: its students would not be of the sweep's."""
    family = DEFAULT_FAMILY if networks.base is None else networks.base.config.family
    if config.base_name == "teacher" and family != config.family:
        raise ConfigError(
            f"--base teacher prunes the teacher, which is of family {family}, but the sweep is of "
            f"{config.family}; give --family {family}, or name a --teacher of {config.family}"
        )
    if networks.base is None or form_of(networks.base.config) == config.form:
        return
    form = form_of(networks.base.config) or "of no named form"
    raise ConfigError(
        f"--base teacher needs a teacher of form {config.form}, but {networks.base.fingerprint} is "
        f"{form}; give --form {form}, or another --teacher"
    )


def check_is_new(folder: SweepFolder) -> None:
    """Raise ``StorageError`` if the sweep has begun before."""
    folder.refresh()
    if folder.plan_file.exists():
        raise StorageError(
            f"a new sweep needs a new name, but {folder.name!r} exists in "
            f"{folder.storage_address}; go on with it by `hpo resume {folder.name}` or choose "
            "another --name"
        )


def make_plan(checked: CheckedSweep) -> SweepPlan:
    """Fix what every trial of the sweep relies on: done once, when its networks are trained."""
    config, data = checked.config, checked.data
    teacher, base = checked.networks.teacher, checked.networks.base
    repeating = _as_validation(repeat_last(data, "validation"))
    return SweepPlan(
        config=config,
        space=checked.space,
        data_folder=str(checked.places.data.resolve()),
        dataset_fingerprint=data.fingerprint,
        teacher_fingerprint=None if teacher is None else teacher.fingerprint,
        baselines={
            "repeat_last": repeating,
            **({} if teacher is None else {"teacher": teacher.metrics}),
        },
        command=" ".join(["hpo", *sys.argv[1:]]),
        base_fingerprint=None if base is None else base.fingerprint,
        reference=_reference(checked, repeating),
        told=checked.told,
    )


def _reference(checked: CheckedSweep, repeating: dict[str, float]) -> dict[str, float]:
    """Return the hypervolume's reference point; empty with one objective."""
    config = checked.config
    if len(config.objectives) == 1:
        return {}
    sizes = student_sizes(config, checked.data, checked.networks.base)
    known = {**repeating, **largest_costs(checked.space, sizes, checked.latency_of)}
    return {name: known[name] for name in config.objectives}


def _as_validation(metrics: dict[str, float]) -> dict[str, float]:
    return {f"val_{name}": value for name, value in metrics.items()}


def open_planned_data(plan: SweepPlan) -> PreparedData:
    """Open the data of a sweep that has begun.

    Raises:
        UserError: it is not what the sweep began with.
    """
    dataset = load_dataset(Path(plan.data_folder), plan.config.dataset)
    data = prepare(dataset, gaps=plan.config.gaps)
    if data.fingerprint != plan.dataset_fingerprint:
        raise UserError(
            f"sweep {plan.config.name!r} must go on with the data it began with, but dataset "
            f"{plan.config.dataset!r} has changed; import it under another name and start anew"
        )
    return data
