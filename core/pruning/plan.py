"""Plan how many filters each layer keeps after every removal of a pruning run.

Only numbers of filters are planned, before any training, so that an unreachable target is refused
at once; the scores decide later which filters are removed. Every removal takes the same share of
each layer's filters, rounded over the whole run so that narrow layers lose theirs too; the last one
meets the target by single filters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import combinations, product

from core.errors import ConfigError
from core.families import NetworkConfig
from core.preprocessing.prepare import PreparedData
from core.pruning.config import PruningConfig
from core.training.trainer import count_steps

Widths = tuple[int, ...]
"""Number of filters of every prunable layer."""

TOLERANCE = 0.02
"""Relative deviation from the target that is accepted to keep the layers even."""
_MOST_UNEVEN = 3
"""Layers that may have one filter more or less than their even share, to meet a target."""


@dataclass(frozen=True)
class _Goal:
    """The number of parameters to end with, and its bounds."""

    target: int
    least: int
    most: int


@dataclass(frozen=True)
class PruningPlan:
    """When filters are removed, and how many."""

    interval: int
    """Training steps from one removal to the next."""
    loop_steps: int
    """Training steps of Algorithm 1's loop; later steps are fine-tuning."""
    widths: tuple[Widths, ...]
    """Widths after each removal; the last are the student's."""

    @property
    def last_removal(self) -> int:
        """The training step after which the student has its final shape."""
        return self.interval * len(self.widths)


def plan_pruning(shape: NetworkConfig, data: PreparedData, config: PruningConfig) -> PruningPlan:
    """Plan the removals of one run.

    Args:
        shape: of the base.
        data: its training windows determine the number of steps.
        config: the target and the interval.

    Raises:
        ConfigError: the run has no removal, or the target cannot be reached.
    """
    loop_steps = count_steps(data, config.training)
    removals = loop_steps // config.pruning_interval
    if not removals:
        raise ConfigError(
            f"pruning_interval must not exceed the {loop_steps} steps of "
            f"{config.training.epochs} epochs, got {config.pruning_interval}; shorten it or train "
            "for more epochs"
        )
    if config.share_per_step is not None:
        widths = _by_share(shape, removals, config.share_per_step)
    else:
        widths = _towards(shape, removals, _goal(shape, config))
    return PruningPlan(config.pruning_interval, loop_steps, tuple(widths))


def _goal(shape: NetworkConfig, config: PruningConfig) -> _Goal:
    """Return the target: a ratio approximately, or a number of parameters at most."""
    target = config.target_parameters
    if target is None:
        target = round(shape.parameters * (1.0 - (config.pruning_ratio or 0.0)))
    smallest = _parameters(shape, shape.fewest_widths)
    if not smallest <= target < shape.parameters:
        raise ConfigError(
            f"a pruned network must have at least {smallest} parameters, the fewest filters per "
            f"layer, and fewer than its base's {shape.parameters}, but {target} are asked for; "
            "choose another pruning_ratio or target_parameters"
        )
    room = int(TOLERANCE * target)
    most = target if config.pruning_ratio is None else min(target + room, shape.parameters - 1)
    return _Goal(target, target - room, most)


def _by_share(shape: NetworkConfig, removals: int, share: float) -> list[Widths]:
    widths = [_scaled(shape, (1.0 - share) ** step) for step in range(1, removals + 1)]
    if widths[-1] == _widths(shape):
        raise ConfigError(
            f"share_per_step must remove a filter within {removals} removals, got {share:g}; "
            "raise it or shorten pruning_interval"
        )
    return widths


def _towards(shape: NetworkConfig, removals: int, goal: _Goal) -> list[Widths]:
    share, last = _at_the_end(shape, goal)
    steps = [_scaled(shape, share ** (step / removals)) for step in range(1, removals)]
    return [*[tuple(map(max, step, last)) for step in steps], last]


@lru_cache(maxsize=64)
def _at_the_end(shape: NetworkConfig, goal: _Goal) -> tuple[float, Widths]:
    """Return the even share of all layers' filters and the widths that meet the goal.

    Cached: the checks of a sweep plan many runs that differ in their steps alone.
    """
    below, share = _shares_around(shape, goal.target)
    last = _near(shape, _scaled(shape, share), goal)
    return share, last or _grown(shape, _scaled(shape, below), goal)


def _shares_around(shape: NetworkConfig, target: int) -> tuple[float, float]:
    """Bisect for the share of all layers' filters that gives ``target`` parameters.

    Returns:
        A share with fewer parameters, and one larger by a rounding error with at least as many.
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        enough = _parameters(shape, _scaled(shape, middle)) >= target
        low, high = (low, middle) if enough else (middle, high)
    return low, high


def _near(shape: NetworkConfig, even: Widths, goal: _Goal) -> Widths | None:
    """Return widths near ``even`` that meet the goal, with few changes, made in wide layers."""
    sizes = {widths: _parameters(shape, widths) for widths in _nearby(shape, even)}
    meeting = [widths for widths, size in sizes.items() if goal.least <= size <= goal.most]

    def cost(widths: Widths) -> tuple[float, int]:
        pairs = zip(widths, even, strict=True)
        changed = sum((1 / old for new, old in pairs if new != old), start=0.0)
        return changed, abs(sizes[widths] - goal.target)

    return min(meeting, key=cost, default=None)


def _nearby(shape: NetworkConfig, even: Widths) -> Iterator[Widths]:
    """Yield ``even`` and all widths that differ from it by one filter in up to three layers."""
    bounds = list(zip(shape.fewest_widths, _widths(shape), strict=True))
    for count in range(_MOST_UNEVEN + 1):
        for layers in combinations(range(len(even)), count):
            for signs in product((-1, 1), repeat=count):
                changes = dict(zip(layers, signs, strict=True))
                widths = tuple(width + changes.get(at, 0) for at, width in enumerate(even))
                pairs = zip(bounds, widths, strict=True)
                if all(fewest <= width <= whole for (fewest, whole), width in pairs):
                    yield widths


def _grown(shape: NetworkConfig, widths: Widths, goal: _Goal) -> Widths:
    """Add single filters until the goal is met, each to the layer where its share is smallest.

    Layers whose next filter would exceed the goal are skipped. If all would, as in tiny networks,
    the network ends below the goal.
    """
    full = _widths(shape)
    while _parameters(shape, widths) < goal.least:
        wider = [
            (*widths[:layer], width + 1, *widths[layer + 1 :])
            for layer, width in enumerate(widths)
            if width < full[layer]
        ]
        fitting = [one for one in wider if _parameters(shape, one) <= goal.most]
        if not fitting:
            break
        widths = min(fitting, key=partial(_changed_share, before=widths, full=full))
    return widths


def _changed_share(widths: Widths, before: Widths, full: Widths) -> float:
    triples = zip(widths, before, full, strict=True)
    return sum((width / whole for width, old, whole in triples if width != old), start=0.0)


def _widths(shape: NetworkConfig) -> Widths:
    return tuple(len(kept) for kept in shape.kept_channels)


def _scaled(shape: NetworkConfig, share: float) -> Widths:
    pairs = zip(shape.fewest_widths, _widths(shape), strict=True)
    return tuple(max(fewest, math.floor(width * share + 0.5)) for fewest, width in pairs)


def _parameters(shape: NetworkConfig, widths: Sequence[int]) -> int:
    return shape.with_widths(widths).parameters
