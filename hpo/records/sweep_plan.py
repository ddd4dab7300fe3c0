"""Hold what a sweep fixed when it began, and what was asked for since. Reads and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hpo.records.ledger import SweepState
from hpo.space.search_space import SearchSpace
from hpo.sweep_config import SweepConfig

PLAN_VERSION = 1


@dataclass(frozen=True)
class SweepPlan:
    """What every trial of a sweep relies on; written once, never changed."""

    config: SweepConfig
    space: SearchSpace
    data_folder: str
    """Absolute path of the datasets."""
    dataset_fingerprint: str
    teacher_fingerprint: str | None
    """None where the method needs no teacher."""
    baselines: dict[str, dict[str, float]]
    """``repeat_last`` and ``teacher``: their validation errors."""
    command: str
    """What the user typed."""
    base_fingerprint: str | None = None
    """Of the trained network that pruning starts from; None where nothing is pruned."""
    reference: dict[str, float] = field(default_factory=dict)
    """With several objectives: what their hypervolume is measured against, the error of repeating
    the last observation and the largest student."""


def extended_plan(plan: SweepPlan, state: SweepState) -> SweepPlan:
    """Return a plan with as many trials as were asked for since the sweep began."""
    trials = state.extended_to or plan.config.trials
    return replace(plan, config=replace(plan.config, trials=trials))
