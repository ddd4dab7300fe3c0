"""Hold the settings that a sweep fixed when it began. Reads and writes no file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from hpo.records.sweep_state import Status, SweepState, Trial
from hpo.space.search_space import SearchSpace
from hpo.sweep_config import SweepConfig

PLAN_VERSION = 1


@dataclass(frozen=True)
class ToldTrial:
    """An ended trial of an earlier sweep that the sampler begins with (``told_trials``)."""

    sweep: str
    number: int
    settings: dict[str, Any]
    """As they are in the search space of the sweep that is told."""
    seed: int
    status: Status
    metrics: dict[str, float]
    sizes: dict[str, float]
    history: dict[str, dict[str, float]]
    """Metrics of its last epoch alone, by its number; keys of JSON are texts."""

    def trial(self) -> Trial:
        """Return it as its own sweep had it."""
        return Trial(
            self.number,
            self.settings,
            self.seed,
            "",
            self.status,
            {int(epoch): metrics for epoch, metrics in self.history.items()},
            self.metrics,
            self.sizes,
        )


@dataclass(frozen=True)
class SweepOutline:
    """A sweep's plan without its search space, which cannot be read without torch."""

    config: SweepConfig
    data_folder: str
    """Absolute path of the datasets."""
    dataset_fingerprint: str
    teacher_fingerprint: str | None
    """None where the method needs no teacher."""
    baselines: dict[str, dict[str, float]]
    """``repeat_last`` and ``teacher``: their validation errors."""
    command: str
    """The user's command line."""
    base_fingerprint: str | None = None
    """Fingerprint of the trained network that pruning starts from; None where nothing is pruned."""
    reference: dict[str, float] = field(default_factory=dict)
    """With several objectives: the reference point of their hypervolume, the error of repeating the
    last observation and the size of the largest student."""
    told: tuple[ToldTrial, ...] = ()
    """What the sampler knew before the first trial."""


@dataclass(frozen=True)
class SweepPlan(SweepOutline):
    """The settings and data that every trial of a sweep relies on; written once, never changed."""

    space: SearchSpace = field(kw_only=True)


Plan = TypeVar("Plan", bound=SweepOutline)


def extended_plan(plan: Plan, state: SweepState) -> Plan:
    """Return the plan with the number of trials that was last asked for.

    Of a search that has settled, those that it began: it is complete.
    """
    trials = state.extended_to or plan.config.trials
    if state.settled is not None:
        trials = state.settled.trials
    return replace(plan, config=replace(plan.config, trials=trials))
