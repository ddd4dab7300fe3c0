"""The space that a sweep searches: cut to its loss, its base and its budget, or refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import hpo.trials.student_costs
from core.distillation.hyperparameters import within
from core.distillation.losses import LOSSES
from core.errors import UserError
from core.experiments import network_shape
from core.forms import FORMS
from core.preprocessing.prepare import PreparedData
from core.stgcn import PRUNING_BASE_CHANNELS, TEACHER_CHANNELS, STGCNConfig
from hpo.planning.places import Places
from hpo.planning.space_fitting import fit_space, largest_costs
from hpo.planning.sweep_planning import plan_sweep
from hpo.records.sweep_plan import SweepPlan
from hpo.space.parameters import Range
from hpo.space.search_space import SearchSpace, built_in_search_space, corners
from hpo.sweep_config import SweepConfig
from hpo.trials.trial_settings import StudentSizes

NIGHT = {"name": "night", "method": "prune", "dataset": "small", "epochs": 8, "form": "paper"}
"""Students of the paper's form, as their sizes are known by heart: Table 1's student has 960."""


def plan(data: Path, space: str | SearchSpace | None = None, **changes: Any) -> SweepPlan:
    fields = {**NIGHT, **changes}
    if isinstance(space, str):
        space = built_in_search_space(space, "paper")
    return plan_sweep(SweepConfig(**fields), Places(data, data.parent / "runs"), space)[0]


def refuse(data: Path, message: str, space: str | SearchSpace | None = None, **wrong: Any) -> None:
    with pytest.raises(UserError, match=message) as caught:
        plan(data, space, **wrong)
    assert "\n" not in str(caught.value)
    assert not (data.parent / "runs").exists()


@pytest.mark.parametrize(
    ("loss", "weights"),
    [
        (None, {"alpha1", "alpha2", "alpha3"}),
        ("stcd", {"alpha1", "alpha2", "alpha3"}),
        ("scd", {"alpha1", "alpha3"}),
        ("ord", {"alpha1"}),
        ("none", set()),
    ],
)
def test_only_the_losss_own_weights_are_searched(
    small_data: Path, loss: str | None, weights: set[str]
) -> None:
    space = plan(small_data, loss=loss).space
    assert {name for name in space.parameters if name.startswith("alpha")} == weights
    values = [dict(point.values) for point in space.first_points]
    assert all(point.keys() == space.parameters.keys() for point in values)
    assert all(values.count(point) == 1 for point in values)


def test_of_losses_that_share_a_name_the_one_that_teaches_sets_the_range(
    small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Wide(LOSSES["none"]):
        alpha1: float = field(metadata=within(0.0, 5.0))

    monkeypatch.setitem(LOSSES, "wide", Wide)
    wide = SearchSpace.from_json(
        {
            "method": "prune",
            "parameters": {
                "pruning_interval": {"type": "int", "low": 5, "high": 9},
                "pruning_ratio": {"type": "categorical", "choices": [0.5]},
                "alpha1": {"type": "float", "low": 0, "high": 4},
            },
        }
    )
    assert plan(small_data, wide, loss="wide").space == wide
    refuse(small_data, r"alpha1 must be a number in \[0, 1\], got 4.0", wide, loss="ord")


def test_a_share_that_the_base_cannot_lose_is_cut_off(small_data: Path) -> None:
    searched = plan(small_data, base="teacher").space
    assert searched.parameters["pruning_ratio"] == Range("float", 0.25, 0.97)
    assert len(searched.first_points) == 9


def test_the_cut_follows_from_one_filter_per_layer(
    small_data: Path, prepared: PreparedData
) -> None:
    base = STGCNConfig(4, ((1, 2, 4), (4, 2, 8)), prepared.history_steps)
    sizes = StudentSizes(SweepConfig(**NIGHT), prepared, base)
    space = fit_space(built_in_search_space("prune", "paper"), sizes, untimed)
    # 74 of 960 parameters stay at least: 92.3 % can leave.
    assert base.with_widths([1] * 8).parameters == 74
    ratio = space.parameters["pruning_ratio"]
    assert isinstance(ratio, Range)
    assert (ratio.low, ratio.high) == (0.25, 0.92)
    assert all(point.values["pruning_ratio"] <= 0.92 for point in space.first_points)
    assert len(space.first_points) == 7


def test_an_interval_longer_than_the_run_is_cut_off(small_data: Path) -> None:
    # 536 training windows, batches of 100: six steps an epoch.
    space = plan(small_data, epochs=3).space
    interval = space.parameters["pruning_interval"]
    assert isinstance(interval, Range)
    assert (interval.low, interval.high) == (5, 18)
    assert {point.values["pruning_interval"] for point in space.first_points} == {18}


def test_a_budget_is_pruned_to_instead_of_a_searched_share(small_data: Path) -> None:
    space = plan(small_data, max_parameters=700).space
    assert "pruning_ratio" not in space.parameters
    assert all("pruning_ratio" not in point.values for point in space.first_points)


def test_with_sizes_as_an_objective_a_budget_only_says_what_fits(small_data: Path) -> None:
    planned = plan(small_data, max_parameters=2000, objective="val_mae,parameters")
    assert "pruning_ratio" in planned.space.parameters
    assert planned.reference["parameters"] == 12564
    assert planned.reference["val_mae"] == planned.baselines["repeat_last"]["val_mae"]


def test_a_share_held_on_purpose_must_keep_within_the_budget(small_data: Path) -> None:
    held = built_in_search_space("prune", "paper").with_fixed({"pruning_ratio": 0.5})
    assert "pruning_ratio" in plan(small_data, held, max_parameters=7000).space.parameters
    refuse(
        small_data,
        r"--max-parameters must be at least \d+, the smallest",
        held,
        max_parameters=5000,
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "stcdd"}, r"unknown loss 'stcdd'; did you mean 'stcd'\?"),
        ({"base": "teachr"}, r"unknown base 'teachr'; did you mean 'teacher'\?"),
        ({"loss": "skd"}, r"loss skd needs alpha, .*--set alpha=0.5"),
        ({"max_parameters": 10}, r"from 74, the fewest filters .*, to 12563, .*got 10; change"),
        ({"max_parameters": 12564}, r"from 74, .* to 12563, one less than the base has, got 12564"),
        ({"max_parameters": 0}, r"--max-parameters must be at least 1, got 0"),
        ({"epochs": 1, "max_parameters": 700, "interval": 200}, r"must not exceed the \d+ steps"),
        ({"method": "stcd", "base": "teacher"}, r"--base is for method prune, got method stcd"),
        ({"method": "stcd", "loss": "ord"}, r"--loss is for method prune, got method stcd"),
        ({"method": "stcd", "max_parameters": 500}, r"at least 960, .*got 500; .*--space widths"),
        ({"method": "ord", "objective": "val_mae,flops"}, r"different sizes, but all have 960"),
        ({"method": "ord", "objective": "val_mae,latency_ms"}, r"different sizes, but all have"),
        ({"max_latency_ms": 0.0}, r"--max-latency-ms must be above 0, got 0.0"),
        ({"objective": "val_mae,flops", "scheduler": "asha"}, r"asha judges by one objective, got"),
        ({"objective": "val_mae,flops", "sampler": "cmaes"}, r"cmaes takes one objective, got 2"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    small_data: Path, wrong: dict[str, Any], message: str
) -> None:
    space, wrong = None, dict(wrong)
    if "interval" in wrong:
        held = {"pruning_interval": wrong.pop("interval")}
        space = built_in_search_space("prune", "paper").with_fixed(held)
    refuse(small_data, message, space, **wrong)


@pytest.mark.parametrize("sampler", ["random", "cmaes", "qmc"])
def test_a_budget_that_cuts_widths_needs_a_sampler_with_constraints(
    small_data: Path, sampler: str
) -> None:
    widths = {"space": "widths", "method": "stcd", "sampler": sampler}
    refuse(
        small_data,
        f"sampler {sampler} takes no constraints.*choose tpe, gp, nsga2",
        max_parameters=500,
        **widths,
    )
    # All fit: nothing is asked of the sampler.
    plan(small_data, max_parameters=10**7, **widths)


def test_no_width_fits_a_budget_below_the_smallest_student(small_data: Path) -> None:
    refuse(
        small_data,
        r"--max-parameters must be at least 57, .* got 56",
        "widths",
        method="stcd",
        max_parameters=56,
    )


def untimed(shape: STGCNConfig) -> float:
    raise AssertionError("this sweep does not ask for latency")


def clock(shape: STGCNConfig, data: PreparedData) -> float:
    """Stand in for ``shape_latency``: a millisecond per hundred parameters."""
    return shape.parameters / 100


def test_no_student_forecasts_faster_than_the_smallest(
    small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hpo.trials.student_costs, "shape_latency", clock)
    widths = {"space": "widths", "method": "stcd"}
    message = r"--max-latency-ms must be at least 0.57, what the smallest student .* got 0.5; raise"
    refuse(small_data, message, max_latency_ms=0.5, **widths)
    refuse(
        small_data,
        "sampler random takes no constraints.*--max-latency-ms; choose tpe, gp, nsga2",
        max_latency_ms=2.0,
        sampler="random",
        **widths,
    )
    assert plan(small_data, max_latency_ms=0.8, **widths).config.max_latency_ms == 0.8


def test_three_objectives_are_measured_against_the_largest_student(
    small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hpo.trials.student_costs, "shape_latency", clock)
    planned = plan(small_data, max_parameters=2000, objective="val_mae,parameters,latency_ms")
    assert "pruning_ratio" in planned.space.parameters
    assert list(planned.reference) == ["val_mae", "parameters", "latency_ms"]
    assert planned.reference["latency_ms"] == 125.64 == planned.reference["parameters"] / 100
    assert "latency_ms" not in plan(small_data, objective="val_mae,parameters").reference


def test_corners_hold_every_parameters_ends() -> None:
    small, large = corners(built_in_search_space("widths", "paper"))
    assert (small["block2_out"], large["block2_out"]) == (1, 128)
    assert (small["batch_size"], large["batch_size"]) == (16, 100)
    assert (small["learning_rate"], large["learning_rate"]) == (1e-4, 0.03)
    assert small["optimizer"] == large["optimizer"] == "rmsprop"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [PRUNING_BASE_CHANNELS, TEACHER_CHANNELS])
def test_no_student_exceeds_the_base(channels: Any, form: str, prepared: PreparedData) -> None:
    base = network_shape(prepared, channels, FORMS[form].network)
    sizes = StudentSizes(SweepConfig(**{**NIGHT, "form": form}), prepared, base)
    space = fit_space(built_in_search_space("prune", form), sizes, untimed)
    largest = largest_costs(space, sizes, untimed)
    assert largest["parameters"] == base.parameters
    assert all(sizes.of(corner)["flops"] < largest["flops"] for corner in corners(space))
