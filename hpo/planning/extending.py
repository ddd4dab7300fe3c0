"""Extend a sweep by more trials, or clone its settings for a new one.

The plan stays as it was when the sweep began; the number of trials added since is recorded in the
ledger. Old and new trials must be comparable, so nothing else can change: for that, clone the
sweep. Runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.errors import ConfigError
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan, extended_plan
from hpo.records.sweep_state import SweepState
from hpo.records.trial_files import writable_ledger
from hpo.space.search_space import SearchSpace
from hpo.sweep_config import SweepConfig


def extend(folder: SweepFolder, trials: int, state: SweepState) -> SweepState:
    """Record in the ledger that a sweep is to have ``trials`` trials and return its new state.

    Args:
        folder: the sweep; the caller is its driver.
        trials: in all, old and new; nothing is recorded if the sweep has as many.
        state: of its ledger.

    Raises:
        ConfigError: the sweep has more already.
    """
    present = extended_plan(folder.read_plan(), state).config.trials
    if trials < present:
        raise ConfigError(
            f"--trials can only be raised, but sweep {folder.name!r} has {present} already, "
            f"got {trials}"
        )
    if trials == present:
        return state
    with writable_ledger(folder) as ledger:
        ledger.append("extended", trials=trials)
        return ledger.state


def clone_of(plan: SweepPlan, name: str, changes: Mapping[str, Any]) -> SweepConfig:
    """Return the settings of a new sweep like that of ``plan``.

    Args:
        plan: with all its trials (``extended_plan``).
        name: of the new sweep.
        changes: settings of ``SweepConfig``; None keeps the other sweep's value.
    """
    config = plan.config
    given = {setting: value for setting, value in changes.items() if value is not None}
    same_data = given.get("dataset", config.dataset) == config.dataset
    # A teacher belongs to one dataset; for another, None takes the best one.
    teacher = plan.teacher_fingerprint if same_data else None
    return replace(config, **{"teacher": teacher, **given, "name": name})


def check_comparable(
    plan: SweepPlan, changes: Mapping[str, Any], space: SearchSpace | None = None
) -> None:
    """Refuse changes that would make new trials incomparable with old ones.

    Args:
        plan: of the sweep.
        changes: requested settings of ``SweepConfig``; None where nothing is requested.
        space: requested; None: the sweep's own.

    Raises:
        ConfigError: with every difference.
    """
    began = plan.config.to_json()
    differences = [
        f"{name} {began[name]}, not {value}"
        for name, value in changes.items()
        if value is not None and value != began[name]
    ]
    if space is not None:
        differences += _space_differences(plan.space, space)
    if differences:
        raise ConfigError(
            f"trials of one sweep must be comparable, but {plan.config.name!r} began with "
            f"{'; '.join(differences)}; leave that out, or begin another sweep with "
            f"--warm-start {plan.config.name}"
        )


def _space_differences(began: SearchSpace, wanted: SearchSpace) -> list[str]:
    before = _flat({"method": began.method, "parameters": began.to_json()["parameters"]})
    after = _flat({"method": wanted.method, "parameters": wanted.to_json()["parameters"]})
    return [
        f"{path} {before.get(path, 'absent')}, not {after.get(path, 'absent')}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {
        found: leaf
        for name, inner in value.items()
        for found, leaf in _flat(inner, f"{path}.{name}" if path else name).items()
    }
