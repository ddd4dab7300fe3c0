"""A sweep that has begun in; more trials of it, or the settings of another like it, out.

The plan stays what it was when the sweep began; the ledger says how many trials were asked for
since. Old and new trials must stay comparable, so nothing else about them may change: whoever wants
that clones the sweep. Runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.errors import ConfigError
from hpo.records.ledger import SweepState
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan, extended_plan
from hpo.records.trial_files import writable_ledger
from hpo.space.search_space import SearchSpace
from hpo.sweep_config import SweepConfig


def extend(folder: SweepFolder, trials: int, state: SweepState) -> SweepState:
    """Note that a sweep is to have ``trials`` trials and return what its ledger tells then.

    Args:
        folder: the sweep; the caller is its driver.
        trials: in all, old and new; where it has as many, nothing is noted.
        state: what its ledger tells.

    Raises:
        ConfigError: it has more already.
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
        changes: settings of ``SweepConfig``; None where it shall be like the other.
    """
    config = plan.config
    said = {setting: value for setting, value in changes.items() if value is not None}
    same_data = said.get("dataset", config.dataset) == config.dataset
    # A teacher is one of its data; elsewhere the best there is.
    teacher = plan.teacher_fingerprint if same_data else None
    return replace(config, **{"teacher": teacher, **said, "name": name})


def check_comparable(
    plan: SweepPlan, changes: Mapping[str, Any], space: SearchSpace | None = None
) -> None:
    """Refuse what would make new trials incomparable with old ones.

    Args:
        plan: of the sweep.
        changes: settings of ``SweepConfig`` that are asked for; None where nothing is.
        space: asked for; None: the sweep's own.

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
