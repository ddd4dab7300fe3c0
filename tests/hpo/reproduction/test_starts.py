"""What each row searches, and what the paper's recipe holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.planning.places import Places
from hpo.report.paper import paper_datasets
from hpo.reproduction.contenders import CONTENDERS
from hpo.reproduction.planning import plan_reproduction
from hpo.reproduction.request import ReproductionRequest
from hpo.reproduction.starts import search_space
from hpo.reproduction.tables import TABLES, find_tables
from hpo.space.search_space import SearchSpace
from hpo.sweep_config import SweepConfig

PAPER = paper_datasets()["pemsd7"]


def space(name: str, **settings: object) -> SearchSpace:
    request = ReproductionRequest("small", **settings)  # type: ignore[arg-type]
    return search_space(request, CONTENDERS[name], PAPER)


@pytest.mark.parametrize("name", CONTENDERS)
def test_the_papers_recipe_is_one_point_of_its_own_settings(name: str) -> None:
    (point,) = space(name, recipe="paper").first_points
    trained = {"optimizer": "rmsprop", "schedule": "step", "windows_per_segment": 1}
    assert trained.items() <= point.values.items()
    own = PAPER.settings.get(name)
    if own is not None:
        assert own.items() <= point.values.items()
    if CONTENDERS[name].removed is not None:
        assert point.values["pruning_ratio"] == CONTENDERS[name].removed


def test_rows_without_a_column_take_that_of_stcd() -> None:
    stcd = PAPER.settings["stcd"]
    for name in ("tcd", "scd"):
        values = space(name, recipe="paper").first_points[0].values
        assert (values["alpha1"], values["alpha3"]) == (stcd["alpha1"], stcd["alpha3"])
        assert "alpha2" not in values
    taught = space("base-75-none", recipe="paper").first_points[0].values
    assert taught["batch_size"] == PAPER.settings["base-75-stcd"]["batch_size"]


@pytest.mark.parametrize("form", ["paper", "direct"])
def test_pruned_rows_start_alike_but_for_the_papers_weights(form: str) -> None:
    starts = {}
    for share in (25, 50, 75):
        values = dict(space(f"base-{share}-stcd", form=form).first_points[0].values)
        assert values.pop("pruning_ratio") == share / 100
        weights = {name: values.pop(name) for name in ("alpha1", "alpha2", "alpha3")}
        assert weights.items() <= PAPER.settings[f"base-{share}-stcd"].items()
        starts[share] = values
    assert starts[25] == starts[50] == starts[75]


def test_epochs_of_pruned_students_are_those_of_all() -> None:
    request = ReproductionRequest("small", epochs=30)
    pruned = request.sweep_config(CONTENDERS["base-50-stcd"], 100)
    (fine_tuning,) = search_space(request, CONTENDERS["base-50-stcd"], PAPER).values_of(
        "fine_tuning_epochs"
    )
    assert pruned.epochs + int(fine_tuning) == 30
    assert request.sweep_config(CONTENDERS["ord"], 100).epochs == 30


def configs(request: ReproductionRequest) -> list[SweepConfig]:
    return [request.sweep_config(one, 10144) for one in CONTENDERS.values()]


def test_every_row_has_the_same_budget_and_a_name_of_its_own() -> None:
    found = configs(ReproductionRequest("a-dataset" * 8, trials=7, seeds=3, scheduler="median"))
    assert {one.trials for one in found} == {7}
    assert {one.scheduler for one in found} == {"median"}
    assert {one.seed for one in found} == {0}
    assert len({one.name for one in found}) == len(CONTENDERS)
    assert max(len(one.name) for one in found) <= 80
    others = configs(ReproductionRequest("a-dataset" * 8, trials=7, form="direct"))
    assert not {one.name for one in found} & {one.name for one in others}


def test_directly_forecasting_students_have_the_size_of_the_papers() -> None:
    request = ReproductionRequest("small", form="direct")
    limits = {
        name: request.sweep_config(one, 10144).max_parameters for name, one in CONTENDERS.items()
    }
    assert {limits[name] for name in ("none", "stcd", "teacher-97-stcd")} == {10144}
    assert limits["base-25-stcd"] is None
    assert all(one.max_parameters is None for one in configs(ReproductionRequest("small")))


@pytest.mark.parametrize("form", ["paper", "direct"])
def test_fixed_rows_hold_their_first_start(form: str, small_data: Path, tmp_path: Path) -> None:
    request = ReproductionRequest("small", trials=0, seeds=3, epochs=3, form=form)
    plan = plan_reproduction(request, find_tables("4"), Places(small_data, tmp_path / "runs"))
    for part in plan.parts:
        assert part.fixed
        assert part.config.trials == 3
        (values,) = part.space.points()
        assert all(len(part.space.values_of(name)) == 1 for name in values)


def test_all_rows_of_all_tables_are_known() -> None:
    for table in TABLES.values():
        assert {row for claim in table.claims for row in (claim.better, claim.worse)} <= {
            *table.contenders
        }
        for row in table.contenders:
            assert row in PAPER.rows
