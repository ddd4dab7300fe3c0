"""Convert the ended trials of a ledger to trials of an Optuna study.

A sampler learns from them when a sweep starts, and ``hpo.outcomes.optuna_export`` writes them to
an Optuna storage. Suggests nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from core.errors import StorageError
from hpo.internals.optuna_trials import ended_trial
from hpo.records.sweep_state import ENDED_STATUSES, SweepState, Trial
from hpo.search.samplers import generation_attributes
from hpo.sweep_config import SweepConfig
from hpo.trials.student_costs import excess_over


def ended_trials(
    state: SweepState,
    config: SweepConfig,
    distributions: Mapping[str, BaseDistribution],
    told: Sequence[Trial] = (),
) -> list[FrozenTrial]:
    """Return all trials that ended, in order, with the attributes that the sampler reads.

    Args:
        state: the ledger's.
        config: the sweep's settings.
        distributions: of its search space, by parameter.
        told: of another sweep, which come first.

    Raises:
        StorageError: the ledger is damaged: a trial has settings or results it cannot have had.
    """
    converted, finished = [], 0
    for trial in [*told, *state.with_status(*ENDED_STATUSES)]:
        attributes: dict[str, Any] = {}
        if trial.status == "finished":
            attributes = generation_attributes(config.sampler, finished)
            finished += 1
        try:
            converted.append(_converted(trial, config, distributions, attributes))
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(
                f"trial {trial.number} in the ledger of sweep {config.name!r} must be one of its "
                f"search space, but {' '.join(str(error).split())}; restore the ledger from a copy"
            ) from error
    return converted


def _converted(
    trial: Trial,
    config: SweepConfig,
    distributions: Mapping[str, BaseDistribution],
    attributes: dict[str, Any],
) -> FrozenTrial:
    metric, objectives = config.metric, config.objectives
    values = {"finished": trial.values(objectives)} if trial.status == "finished" else {}
    values["infeasible"] = [math.inf] * len(objectives)
    history = {epoch: metrics[metric] for epoch, metrics in trial.history.items()}
    return ended_trial(
        trial.status,
        attributes,
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
        constraints=excess_over(config, trial.sizes) or None,
    )
