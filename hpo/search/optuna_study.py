"""A ledger's trials in, the same as trials of an Optuna study out.

What a sampler learns from when a sweep starts, and what ``hpo.outcomes.optuna_export`` gives away.
Asks and draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.records.ledger import ENDED_STATUSES, SweepState, Trial
from hpo.search.samplers import past_attributes
from hpo.sweep_config import SweepConfig
from hpo.trials.student_costs import excess_over

STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    # Told with its constraint and an endless error: a sampler learns from complete trials alone.
    "infeasible": TrialState.COMPLETE,
}


def told_trials(
    state: SweepState,
    config: SweepConfig,
    distributions: Mapping[str, BaseDistribution],
) -> list[FrozenTrial]:
    """Return all trials that ended, in order, as the sweep's sampler wants to be told of them."""
    told, finished = [], 0
    for trial in state.with_status(*ENDED_STATUSES):
        attributes: dict[str, Any] = {}
        if trial.status == "finished":
            attributes = past_attributes(config.sampler, finished)
            finished += 1
        told.append(_frozen(trial, config, distributions, attributes))
    return told


def _frozen(
    trial: Trial,
    config: SweepConfig,
    distributions: Mapping[str, BaseDistribution],
    attributes: dict[str, Any],
) -> FrozenTrial:
    metric, objectives = config.metric, config.objectives
    values = {"finished": trial.values(objectives)} if trial.status == "finished" else {}
    values["infeasible"] = [math.inf] * len(objectives)
    history = {epoch: metrics[metric] for epoch, metrics in trial.history.items()}
    return create_trial(
        state=STATES[trial.status],
        values=values.get(trial.status),
        params=trial.settings,
        distributions=dict(distributions),
        intermediate_values=history if len(objectives) == 1 else None,
        user_attrs={
            "trial": trial.number,
            "seed": trial.seed,
            "status": trial.status,
            **trial.sizes,
        },
        system_attrs=attributes,
        constraints=excess_over(config, trial.sizes) or None,
    )
