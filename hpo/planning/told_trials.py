"""Tell a new sweep in another search space what the trials of an earlier sweep have found.

For ``hpo clone NAME --space FILE --set KEY=VALUE``: the sampler of the new sweep begins with every
ended trial of the old one whose student could come of the new space, and nothing of them is trained
again. Both must have the same data, epochs and teacher. Runs and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from core.errors import ConfigError
from hpo.records.sweep_plan import SweepPlan, ToldTrial
from hpo.records.sweep_state import Status, SweepState, Trial
from hpo.space.parameters import Choices, Parameter, Value
from hpo.space.search_space import SearchSpace
from hpo.sweep_config import SweepConfig
from hpo.trials.trial_settings import trained_as

TOLD_STATUSES: Final[tuple[Status, ...]] = ("finished", "pruned", "failed")
"""Not infeasible ones: the new sweep may allow larger students."""


@dataclass(frozen=True)
class Told:
    """What a sweep is told."""

    sweep: str
    """Which one the trials are of."""
    dataset_fingerprint: str
    trials: tuple[ToldTrial, ...]

    def check_data(self, fingerprint: str) -> None:
        """Raise unless the new sweep has the data of the old one.

        Raises:
            ConfigError: it has others.
        """
        if fingerprint != self.dataset_fingerprint:
            raise ConfigError(
                f"trials of {self.sweep!r} tell something of the data that it had alone, but these "
                f"are others; begin with `hpo sweep … --warm-start {self.sweep}`"
            )


def told_by(plan: SweepPlan, state: SweepState, config: SweepConfig, space: SearchSpace) -> Told:
    """Return the ended trials of a sweep that lie in another space.

    Args:
        plan: of the earlier sweep.
        state: of its ledger.
        config: of the new sweep.
        space: of the new sweep.

    Raises:
        ConfigError: the new sweep is of another dataset or number of epochs, or no trial lies in
            its space.
    """
    name = plan.config.name
    for setting in ("dataset", "epochs"):
        before, wanted = getattr(plan.config, setting), getattr(config, setting)
        if wanted != before:
            raise ConfigError(
                f"trials of {name!r} are told to sweeps of the same {setting} alone, {before}, not "
                f"{wanted}; leave --{setting} out, or --space and --set"
            )
    told = [
        _told(name, trial, settings)
        for trial in state.with_status(*TOLD_STATUSES)
        if (settings := settings_in(space, trial.settings, config)) is not None
    ]
    if not told:
        raise ConfigError(
            f"the new space must hold an ended trial of {name!r}, but none of its "
            f"{state.num_ended} lies there; widen the space, or begin with `hpo sweep … --space`"
        )
    return Told(name, plan.dataset_fingerprint, tuple(told))


def without_told(space: SearchSpace, told: Sequence[ToldTrial]) -> SearchSpace:
    """Return the space without first points that a told trial has tried."""
    tried = [one.settings for one in told]
    left = tuple(point for point in space.first_points if dict(point.values) not in tried)
    return replace(space, first_points=left)


def settings_in(
    space: SearchSpace, settings: Mapping[str, Any], config: SweepConfig
) -> dict[str, Value] | None:
    """Return the settings that the same student has in ``space``; None if it is none of its.

    A parameter that the trial's own sweep did not search takes the value that changes nothing: one
    of the space's choices, ends or first points. The value of one that ``space`` does not search
    must have been what it is there.
    """
    found: dict[str, Value] = {}
    for name, parameter in space.parameters.items():
        known = [settings[name]] if name in settings else _values(space, name, parameter)
        same = [one for one in known if _same(config, settings, {**settings, name: one})]
        if not same or not parameter.contains(same[0]):
            return None
        found[name] = same[0]
    return found if _same(config, settings, found) else None


def _values(space: SearchSpace, name: str, parameter: Parameter) -> list[Value]:
    points = [point.values[name] for point in space.first_points if name in point.values]
    ends = parameter.choices if isinstance(parameter, Choices) else parameter.ends
    return [*points, *ends]


def _same(config: SweepConfig, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two settings train the same student in the same way."""
    try:
        return trained_as(config, one) == trained_as(config, other)
    except ConfigError:
        return False


def _told(sweep: str, trial: Trial, settings: dict[str, Value]) -> ToldTrial:
    last = max(trial.history, default=None)
    history = {} if last is None else {str(last): trial.history[last]}
    return ToldTrial(
        sweep,
        trial.number,
        settings,
        trial.seed,
        trial.status,
        trial.metrics,
        trial.sizes,
        history,
    )
