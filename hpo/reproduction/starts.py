"""Make the search space of a row: what it holds fixed, and where its search starts.

Every row of a table searches the project's own space of its method from the same first starts. A
fixed row is a space of one configuration: the paper's, or the first start that is not too large.
Fits nothing to data; ``hpo.planning.space_fitting`` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from core.experiments import network_shape
from core.forms import FORMS
from core.preprocessing.prepare import PreparedData
from hpo.report.paper import PaperDataset
from hpo.reproduction.contenders import CONTENDERS, Contender
from hpo.reproduction.request import ReproductionRequest
from hpo.space.parameters import Value
from hpo.space.search_space import (
    FirstPoint,
    SearchSpace,
    built_in_search_space,
    without_repeats,
)
from hpo.trials.trial_settings import StudentSizes

_TRAINING: Mapping[str, Value] = {
    "optimizer": "rmsprop",
    "schedule": "step",
    "windows_per_segment": 1,
    "batch_size": 50,
    "learning_rate": 1e-3,
}
"""How the paper trains where its Tables 6 and 9 do not say otherwise."""
_LIKE = {"tcd": "stcd", "scd": "stcd"}
"""Rows of Table 5 have no column in Table 6: they are STCD without a part."""


def search_space(
    request: ReproductionRequest, contender: Contender, paper: PaperDataset
) -> SearchSpace:
    """Return the space that a row searches.

    Args:
        request: names the form, the epochs and the recipe.
        contender: the row.
        paper: the data set whose settings the paper's recipe takes.
    """
    space = built_in_search_space(contender.method, request.form)
    if contender.base is not None:
        space = _pruning(request, contender, space, paper)
    if request.recipe == "paper":
        values = {**_TRAINING, **_own_settings(contender, space, paper)}
        space = replace(space, first_points=(_start(space, "the paper", values),))
    return space


def most_parameters(request: ReproductionRequest, data: PreparedData) -> int:
    """Return how many parameters a student may have where its shape is searched.

    As many as the paper's student of Table 1 has on these sensors; on so few sensors that every
    first start is larger, as many as the smallest of them.
    """
    table_1, none = FORMS["paper"], CONTENDERS["none"]
    paper = network_shape(data, table_1.student, table_1.network).parameters
    sizes = StudentSizes(request.sweep_config(none, paper), data, base=None)
    starts = built_in_search_space(none.method, request.form).points()
    return max(paper, min(sizes.shape(values).parameters for values in starts))


def held_at_first_start(space: SearchSpace, sizes: StudentSizes) -> SearchSpace:
    """Return the space of one configuration: the first start whose student is not too large.

    Args:
        space: fitted to the sweep.
        sizes: of the sweep's students.
    """
    most = sizes.config.max_parameters
    point = next(
        one
        for one in space.first_points
        if most is None or sizes.shape(one.values).parameters <= most
    )
    return replace(space.holding(point.values), first_points=(point,))


def _start(space: SearchSpace, source: str, values: Mapping[str, Value]) -> FirstPoint:
    """Return the first start of ``space`` with these values instead of its own."""
    held = {**space.first_points[0].values, **values}
    return FirstPoint(source, {name: held[name] for name in space.parameters})


def _own_settings(
    contender: Contender, space: SearchSpace, paper: PaperDataset
) -> dict[str, Value]:
    found = paper.settings.get(_paper_row(contender), {})
    return {name: value for name, value in found.items() if name in space.parameters}


def _paper_row(contender: Contender) -> str:
    """Return the column of Table 6 or 9 that holds a row's settings."""
    if contender.base is not None:  # pruning without KD differs by its loss alone
        return f"{contender.name.rsplit('-', 1)[0]}-stcd"
    return _LIKE.get(contender.name, contender.name)


def _pruning(
    request: ReproductionRequest, contender: Contender, space: SearchSpace, paper: PaperDataset
) -> SearchSpace:
    """Hold the epochs and the share to remove; start from the paper's weights for that share.

    In other forms than the paper's a pruned teacher gets the size of the other students instead.
    """
    own = _own_settings(contender, space, paper)
    weights = {name: value for name, value in own.items() if name.startswith("alpha")}
    held: dict[str, Value] = {"fine_tuning_epochs": request.fine_tuning_epochs}
    if request.form == "paper" or contender.base == "table1":
        held["pruning_ratio"] = float(contender.removed or 0)
    first, *others = space.first_points
    taught = replace(first, values={**first.values, **weights})
    points = without_repeats([taught, *others])
    return replace(space, first_points=points).holding(held)
