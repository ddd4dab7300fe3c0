"""Warm-start a search space: put the best configurations of another sweep first.

The other sweep may be of another dataset: what is good there is a good first guess here. It must
be of the same method, since methods have different parameters. Runs and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.errors import ConfigError
from core.families import DEFAULT_FAMILY
from hpo.records.ranking import configurations, ranked_records
from hpo.records.sweep_folder import SweepFolder
from hpo.records.trial_records import TrialRecord, read_records
from hpo.space.search_space import FirstPoint, SearchSpace, without_repeats

WARM_POINTS = 5
"""Taken from the other sweep: half of what a sampler draws at random before it learns."""


def with_best_of(
    space: SearchSpace, folder: SweepFolder, form: str, family: str = DEFAULT_FAMILY
) -> SearchSpace:
    """Return ``space`` whose first points begin with the best configurations of a sweep.

    Parameters that the sweep did not search take the values of the space's own first point.

    Args:
        space: of the new sweep.
        folder: of the other sweep.
        form: of the new sweep's students.
        family: of the new sweep's students.

    Raises:
        ConfigError: it is of another method, form or family, or no finished trial of it lies in
            ``space``.
    """
    plan = folder.read_plan()
    if plan.space.method != space.method:
        raise ConfigError(
            f"--warm-start needs a sweep of method {space.method}, but {folder.name!r} is of "
            f"method {plan.space.method}; name another"
        )
    for kind, wanted in {"form": form, "family": family}.items():
        found = getattr(plan.config, kind)
        if found != wanted:
            raise ConfigError(
                f"--warm-start needs a sweep of {kind} {wanted}, but {folder.name!r} is of {kind} "
                f"{found}; name another, or give --{kind} {found}"
            )
    ranked = ranked_records(read_records(folder.results), plan.config.metric)
    points = [
        FirstPoint(f"sweep {folder.name}, trial {record.trial}", values)
        for record in configurations(ranked)
        if (values := _inside(space, record))
    ]
    if not points:
        raise ConfigError(
            f"--warm-start needs a finished trial within the search space, but {folder.name!r} "
            "has none; name another sweep, or widen the space"
        )
    return replace(
        space, first_points=without_repeats([*points[:WARM_POINTS], *space.first_points])
    )


def _inside(space: SearchSpace, record: TrialRecord) -> Mapping[str, Any]:
    """Return the record's values of the space's parameters; empty if one is missing or outside."""
    own = space.first_points[0].values if space.first_points else {}
    known = {**own, **record.settings}
    values = {name: known[name] for name in space.parameters if name in known}
    inside = all(space.parameters[name].contains(value) for name, value in values.items())
    return values if inside and len(values) == len(space.parameters) else {}
