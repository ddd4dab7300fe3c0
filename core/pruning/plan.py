"""How far to prune in, how many filters each layer has after every removal out.

Only numbers of filters are planned, before any training, so that what cannot be reached is refused
at once; which filters leave is decided by their scores. Every removal takes the same share of each
layer's filters, rounded over the whole run so that narrow layers lose theirs too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import ConfigError
from core.preprocessing.prepare import PreparedData
from core.pruning.config import PruningConfig
from core.stgcn_config import STGCNConfig
from core.training import count_steps

Widths = tuple[int, ...]
"""Filters of every prunable layer."""

TOLERANCE = 0.01
"""How far below its target, as a share of it, a network may end for the sake of even layers."""


@dataclass(frozen=True)
class PruningPlan:
    """When filters leave, and how many."""

    interval: int
    """Training steps from one removal to the next."""
    loop_steps: int
    """Training steps of Algorithm 1's loop; what comes later is fine-tuning."""
    widths: tuple[Widths, ...]
    """After each removal; the last are the student's."""

    @property
    def last_removal(self) -> int:
        """After how many training steps the student has its final shape."""
        return self.interval * len(self.widths)


def plan_pruning(shape: STGCNConfig, data: PreparedData, config: PruningConfig) -> PruningPlan:
    """Plan the removals of one run.

    Args:
        shape: of the base.
        data: the training windows, which give the number of steps.
        config: how far, and how often.

    Raises:
        ConfigError: the run has no removal, or the target lies out of reach.
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
        widths = _towards(shape, removals, _target(shape, config))
    return PruningPlan(config.pruning_interval, loop_steps, tuple(widths))


def _target(shape: STGCNConfig, config: PruningConfig) -> int:
    target = config.target_parameters
    if target is None:
        target = round(shape.parameters * (1.0 - (config.pruning_ratio or 0.0)))
    smallest = _parameters(shape, [1] * len(shape.layers))
    if not smallest <= target < shape.parameters:
        raise ConfigError(
            f"a pruned network must have at least {smallest} parameters, one filter per layer, and "
            f"fewer than its base's {shape.parameters}, but {target} are asked for; choose another "
            "pruning_ratio or target_parameters"
        )
    return target


def _by_share(shape: STGCNConfig, removals: int, share: float) -> list[Widths]:
    widths = [_scaled(shape, (1.0 - share) ** step) for step in range(1, removals + 1)]
    if widths[-1] == _widths(shape):
        raise ConfigError(
            f"share_per_step must remove a filter within {removals} removals, got {share:g}; "
            "raise it or shorten pruning_interval"
        )
    return widths


def _towards(shape: STGCNConfig, removals: int, target: int) -> list[Widths]:
    kept = _share_above(shape, target)
    last = _finished(shape, _scaled(shape, kept), target)
    steps = [_scaled(shape, kept ** (step / removals)) for step in range(1, removals)]
    return [*[tuple(map(max, step, last)) for step in steps], last]


def _share_above(shape: STGCNConfig, target: int) -> float:
    """Bisect for the smallest share of all layers' filters with at least ``target`` parameters."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        enough = _parameters(shape, _scaled(shape, middle)) >= target
        low, high = (low, middle) if enough else (middle, high)
    return high


def _finished(shape: STGCNConfig, widths: Widths, target: int) -> Widths:
    """Take single filters until no more than ``target`` parameters are left.

    Each from the layer that then still has the largest share of its filters, among those that do
    not end below the target by more than ``TOLERANCE``; else from the one that ends nearest to it.
    """
    full = _widths(shape)
    while _parameters(shape, widths) > target:
        choices = [_one_less(widths, layer) for layer in range(len(widths)) if widths[layer] > 1]
        least = {choice: _parameters(shape, choice) for choice in choices}
        near = [choice for choice in choices if least[choice] >= (1.0 - TOLERANCE) * target]
        if not near:
            return max(choices, key=lambda choice: least[choice])
        before = widths
        widths = max(near, key=lambda choice: _smallest_changed_share(choice, before, full))
    return widths


def _smallest_changed_share(widths: Widths, before: Widths, full: Widths) -> float:
    triples = zip(widths, before, full, strict=True)
    return min(width / whole for width, old, whole in triples if width != old)


def _one_less(widths: Widths, layer: int) -> Widths:
    return (*widths[:layer], widths[layer] - 1, *widths[layer + 1 :])


def _widths(shape: STGCNConfig) -> Widths:
    return tuple(len(kept) for kept in shape.kept_channels)


def _scaled(shape: STGCNConfig, share: float) -> Widths:
    return tuple(max(1, math.floor(width * share + 0.5)) for width in _widths(shape))


def _parameters(shape: STGCNConfig, widths: Sequence[int]) -> int:
    return shape.with_widths(widths).parameters
