"""Fit a search space to one sweep: its loss, its pruning base and its budget.

Removes parameters that the loss does not have or the budget already fixes, cuts ranges to what can
be reached, and refuses what cannot work before anything is trained. Leaves the space's file as it
is.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

from core.distillation.hyperparameters import hyperparameter_bounds
from core.distillation.losses import LOSSES
from core.errors import ConfigError
from core.families import DEFAULT_FAMILY, NetworkConfig, find_family
from core.forms import find_form
from core.training.config import TrainingConfig
from core.training.trainer import fewest_steps
from hpo.planning.space_checking import check_space, segment_lengths
from hpo.search.samplers import check_sampler
from hpo.space.objectives import COSTS, LATENCY
from hpo.space.parameters import BLOCKS, PRUNE, STUDENT_WIDTHS, Range, Value, loss_parameters
from hpo.space.search_space import SearchSpace, corners, without_repeats
from hpo.sweep_config import SweepConfig
from hpo.trials.student_costs import LatencyOf
from hpo.trials.trial_settings import WINDOWS_PER_SEGMENT, StudentSizes, shape_flops


def fit_space(space: SearchSpace, sizes: StudentSizes, latency_of: LatencyOf) -> SearchSpace:
    """Return the part of ``space`` that makes sense for the sweep, checked.

    Args:
        space: as it was asked for.
        sizes: of the sweep's students.
        latency_of: times a shape, in milliseconds; called only where latency is limited.

    Raises:
        UserError: no trial of it, or not every one, could run.
    """
    config = sizes.config
    space = _fit_family(space, config.family)
    space = _fit_pruning(space, sizes) if config.method == PRUNE else _fit_network(space, sizes)
    check_space(space, sizes)
    _check_intervals(space, sizes)
    _check_sizes(space, sizes)
    if config.max_latency_ms is not None:
        fastest = latency_of(_smallest_shape(space, sizes))
        _check_latency(config, config.max_latency_ms, fastest)
    return space


def check_objectives(config: SweepConfig) -> None:
    """Refuse a scheduler or sampler that cannot handle the sweep's objectives.

    Raises:
        ConfigError: there are several, but the scheduler or the sampler takes only one.
    """
    objectives = config.objectives
    if len(objectives) > 1 and config.scheduler != "none":
        raise ConfigError(
            f"scheduler {config.scheduler} judges by one objective, got {len(objectives)}; "
            "use --scheduler none"
        )
    check_sampler(config.sampler, objectives=len(objectives))


def largest_shape(space: SearchSpace, sizes: StudentSizes) -> NetworkConfig:
    """Return the shape of the largest student of the sweep; of the base where it is pruned."""
    return sizes.base or max(_end_shapes(space, sizes), key=lambda shape: shape.parameters)


def largest_costs(
    space: SearchSpace, sizes: StudentSizes, latency_of: LatencyOf
) -> dict[str, float]:
    """Return the costs of ``largest_shape``; its latency only where the sweep minimises latency."""
    shape = largest_shape(space, sizes)
    costs: dict[str, float] = {"parameters": shape.parameters, "flops": shape_flops(shape)}
    if LATENCY in sizes.config.objectives:
        costs[LATENCY] = latency_of(shape)
    return costs


def _fit_network(space: SearchSpace, sizes: StudentSizes) -> SearchSpace:
    """Leave out settings of the network that no trial of the sweep would use."""
    config = sizes.config
    if not sizes.data.card.missing_share:
        space = _without(space, {"missing_mask"})
    if config.network == "teacher":
        space = space.holding(dict(zip(STUDENT_WIDTHS, _teacher_widths(config), strict=True)))
        space = _without(space, {BLOCKS})
    forms = [find_form(str(name)) for name in space.values_of("form") or (config.form,)]
    if all(form.network.norm == "sensor" for form in forms):
        return _without(space, {"sensor_rank"})
    return space


def _fit_family(space: SearchSpace, family: str) -> SearchSpace:
    """Leave out and fix settings that mean nothing to networks of a family."""
    if not find_family(family).config.equivariant:
        # Windows of a segment share no computation then, and one by one they are more varied.
        space = space.holding({"windows_per_segment": 1})
    for name, fewest in zip(STUDENT_WIDTHS, 2 * find_family(family).fewest, strict=True):
        space = _raised(space, name, fewest)
    return space if family == DEFAULT_FAMILY else _without(space, {"sensor_rank"})


def _teacher_widths(config: SweepConfig) -> tuple[int, ...]:
    channels = find_family(config.family).teacher or find_form(config.form).teacher
    return tuple(width for block in channels for width in block[1:])


def _end_shapes(space: SearchSpace, sizes: StudentSizes) -> list[NetworkConfig]:
    """Return the shapes of the smallest and the largest settings, in every form."""
    forms = [{"form": name} for name in space.values_of("form")] or [{}]
    return [sizes.shape({**corner, **form}) for corner in corners(space) for form in forms]


def _fit_pruning(space: SearchSpace, sizes: StudentSizes) -> SearchSpace:
    config, base = sizes.config, sizes.base
    own = hyperparameter_bounds(LOSSES[config.loss_name])
    unused = loss_parameters(PRUNE).keys() - own.keys()
    if _is_target(space, config):
        unused.add("pruning_ratio")
    space = _without(space, unused)
    space = _lowered(space, "pruning_interval", _fewest_steps(space, sizes))
    if base is not None:
        smallest = base.with_widths(base.fewest_widths).parameters
        reachable = math.floor(100 * (1 - smallest / base.parameters)) / 100
        space = _capped(space, "pruning_ratio", reachable)
        if "pruning_ratio" not in space.parameters:
            _check_target(config.max_parameters, smallest, base.parameters)
    return space


def _check_intervals(space: SearchSpace, sizes: StudentSizes) -> None:
    """Refuse an interval that some trial's seed leaves too few steps for: it shifts segments."""
    longest, fewest = space.largest("pruning_interval"), _fewest_steps(space, sizes)
    if longest > fewest:
        raise ConfigError(
            f"pruning_interval must not exceed the {fewest} steps that {sizes.config.epochs} "
            f"epochs have at least, but the space goes up to {longest:g}; narrow it by --set "
            f"pruning_interval={fewest}, or train for more --epochs"
        )


def _check_target(most: int | None, smallest: int, whole: int) -> None:
    if most is not None and not smallest <= most < whole:
        raise ConfigError(
            f"--max-parameters must be from {smallest}, the fewest filters per layer, to "
            f"{whole - 1}, one less than the base has, got {most}; change it, or choose another "
            "--base"
        )


def _fewest_steps(space: SearchSpace, sizes: StudentSizes) -> int:
    """Return the training steps of the trial with the largest batches, whatever its seed."""
    largest = int(space.largest("batch_size")) or TrainingConfig().batch_size
    training = TrainingConfig(epochs=sizes.config.epochs, batch_size=largest)
    usual = min(WINDOWS_PER_SEGMENT, largest)
    segments = segment_lengths(space) or [usual]
    return min(
        fewest_steps(sizes.data, replace(training, windows_per_segment=windows))
        for windows in [one for one in segments if one <= largest] or [usual]
    )


def _is_target(space: SearchSpace, config: SweepConfig) -> bool:
    """Whether every trial is pruned to ``max_parameters`` instead of to a searched ratio."""
    searched = isinstance(space.parameters.get("pruning_ratio"), Range)
    sizes_matter = set(config.objectives) & set(COSTS)
    return config.max_parameters is not None and searched and not sizes_matter


def _check_sizes(space: SearchSpace, sizes: StudentSizes) -> None:
    config = sizes.config
    ends = [shape.parameters for shape in _end_shapes(space, sizes)]
    smallest, largest = min(ends), max(ends)  # the more is pruned, the smaller the student
    if smallest == largest and set(config.objectives) & set(COSTS):
        raise ConfigError(
            f"--objective {config.objective} needs students of different sizes, but all have "
            f"{smallest:,} parameters; search their widths by --space widths, or use method {PRUNE}"
        )
    most = config.max_parameters
    if most is None or largest <= most:
        return
    if smallest > most:
        raise ConfigError(
            f"--max-parameters must be at least {smallest}, the smallest student of this space, "
            f"got {most}; raise it, or search widths by --space widths"
        )
    check_sampler(config.sampler, constrained=True)


def _smallest_shape(space: SearchSpace, sizes: StudentSizes) -> NetworkConfig:
    return min(_end_shapes(space, sizes), key=lambda shape: shape.parameters)


def _check_latency(config: SweepConfig, most: float, fastest: float) -> None:
    if fastest > most:
        raise ConfigError(
            f"--max-latency-ms must be at least {fastest:.4g}, what the smallest student of this "
            f"space takes on this machine, got {most:g}; raise it, or search widths by --space "
            "widths"
        )
    check_sampler(config.sampler, constrained=True)


def _without(space: SearchSpace, names: Collection[str]) -> SearchSpace:
    """Remove parameters; first points that are then equal are merged."""
    kept = {name: one for name, one in space.parameters.items() if name not in names}
    points = [
        replace(point, values={name: point.values[name] for name in kept})
        for point in space.first_points
    ]
    return SearchSpace(space.method, kept, without_repeats(points))


def _raised(space: SearchSpace, name: str, least: int) -> SearchSpace:
    """Cut the range ``name`` off below ``least``, and raise the first points to it."""
    parameter = space.parameters.get(name)
    # A grid would move with its first value: what is too small in one is refused later.
    if not isinstance(parameter, Range) or parameter.step or not parameter.low < least:
        return space
    return _within(space, name, replace(parameter, low=least))


def _lowered(space: SearchSpace, name: str, most: int) -> SearchSpace:
    """Cut the range ``name`` off above ``most``, and lower the first points to it."""
    parameter = space.parameters.get(name)
    if not isinstance(parameter, Range) or not parameter.low < most < parameter.high:
        return space
    return _within(space, name, replace(parameter, high=most))


def _within(space: SearchSpace, name: str, narrower: Range) -> SearchSpace:
    """Narrow the range of whole numbers ``name``, and move the first points into it."""

    def moved(value: Value) -> int:
        return int(min(max(int(value), narrower.low), narrower.high))

    points = [
        replace(point, values={**point.values, name: moved(point.values[name])})
        for point in space.first_points
    ]
    parameters = {**space.parameters, name: narrower}
    return SearchSpace(space.method, parameters, without_repeats(points))


def _capped(space: SearchSpace, name: str, most: float) -> SearchSpace:
    """Cut the range ``name`` off above ``most``, and leave out the first points beyond.

    A range that lies wholly beyond stays, and so does a categorical parameter: the user chose both
    on purpose, so they are refused later instead of changed here.
    """
    parameter = space.parameters.get(name)
    if not isinstance(parameter, Range) or not parameter.low < most < parameter.high:
        return space
    capped = {**space.parameters, name: replace(parameter, high=most)}
    points = [point for point in space.first_points if float(point.values[name]) <= most]
    return SearchSpace(space.method, capped, tuple(points))
