"""Forms in a sweep: what a trial's settings make of them, and what its sizes and costs are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import UnknownNameError, UserError
from core.evaluation.profiling import count_flops, count_parameters
from core.experiments import network_shape, new_network
from core.forms import FORMS, form_of
from core.preprocessing.prepare import PreparedData
from hpo.planning.networks import pruning_base
from hpo.planning.places import Places
from hpo.planning.space_fitting import fit_space, largest_shape
from hpo.planning.sweep_planning import plan_sweep
from hpo.records.ledger import Ledger
from hpo.records.sweep_plan import SweepPlan
from hpo.space.search_space import SearchSpace, built_in_search_space
from hpo.sweep_config import SweepConfig
from hpo.trials.student_costs import StudentCosts
from hpo.trials.trial_settings import StudentSizes, pruning_config, student_config

SPACE = {
    "method": "none",
    "parameters": {
        "form": {"type": "categorical", "choices": ["direct", "paper"]},
        "sensor_rank": {"type": "int", "low": 1, "high": 3},
        "error": {"type": "categorical", "choices": ["mae", "mse", "huber"]},
        "batch_size": {"type": "categorical", "choices": [25]},
    },
}


def sweep(**changes: Any) -> SweepConfig:
    return SweepConfig(**{"name": "night", "method": "none", "dataset": "small", **changes})


def plan(data: Path, space: SearchSpace | None = None, **changes: Any) -> SweepPlan:
    return plan_sweep(sweep(**changes), Places(data, data.parent / "runs"), space)[0]


@pytest.mark.parametrize("form", FORMS)
def test_a_student_has_its_forms_network_widths_and_error(form: str) -> None:
    config = student_config(sweep(form=form, epochs=7), {}, 11)
    assert (config.form, config.channels) == (FORMS[form].network, FORMS[form].student)
    assert (config.training.error, config.training.epochs) == (FORMS[form].error, 7)


def test_a_trial_may_choose_form_rank_and_error() -> None:
    settings = {"form": "direct", "sensor_rank": 7, "error": "huber", "block1_out": 9}
    config = student_config(sweep(form="paper"), settings, 0)
    assert config.form == FORMS["direct"].with_rank(7)
    assert config.training.error == "huber"
    assert config.channels == ((1, 8, 9), (9, 8, 24))


def test_a_trial_may_read_which_readings_were_missing() -> None:
    assert not student_config(sweep(), {"missing_mask": 0}, 0).form.missing_mask
    config = student_config(sweep(), {"missing_mask": 1, "sensor_rank": 7}, 0)
    assert config.form == replace(FORMS["direct"].with_rank(7), missing_mask=True)


def test_a_mask_is_left_out_where_no_reading_is_missing(
    small_data: Path, prepared: PreparedData
) -> None:
    mask = {"type": "categorical", "choices": [0, 1]}
    fields = {**SPACE, "parameters": {**SPACE["parameters"], "missing_mask": mask}}
    space = SearchSpace.from_json(fields)
    assert prepared.card.missing_share > 0
    assert "missing_mask" in plan(small_data, space).space.parameters
    whole = replace(prepared, card=replace(prepared.card, missing_share=0.0))
    sizes = StudentSizes(sweep(), whole, base=None)
    assert "missing_mask" not in fit_space(space, sizes, lambda _: 1.0).parameters


def test_a_pruned_student_has_its_sweeps_error() -> None:
    settings = {"pruning_ratio": 0.5, "pruning_interval": 5, "fine_tuning_epochs": 1}
    for form in FORMS:
        config = sweep(method="prune", form=form, loss="none")
        assert pruning_config(config, settings, 0).training.error == FORMS[form].error


@pytest.mark.parametrize(
    "settings",
    [{}, {"sensor_rank": 2, "block2_out": 3}, {"form": "paper"}, {"missing_mask": 1}],
)
def test_sizes_are_those_of_the_network(settings: dict[str, Any], prepared: PreparedData) -> None:
    config = student_config(sweep(), settings, 0)
    shape = network_shape(prepared, config.channels, config.form)
    network = new_network(shape, prepared.graph_kernel, seed=0)
    sizes = StudentSizes(sweep(), prepared, base=None).of(settings)
    assert sizes == {"parameters": count_parameters(network), "flops": count_flops(network)}


def test_forms_and_ranks_are_timed_apart(prepared: PreparedData, tmp_path: Path) -> None:
    sizes = StudentSizes(sweep(objective="val_mae,latency_ms"), prepared, base=None)
    timed = []

    def latency(shape: Any) -> float:
        timed.append(shape)
        return float(len(timed))

    ledger = Ledger(tmp_path / "ledger.jsonl")
    costs = StudentCosts(sizes, ledger, latency)
    wanted = [
        {},
        {"form": "paper", "block1_out": 16},
        {"sensor_rank": 5},
        {"missing_mask": 1},
        {},
    ]
    found = [costs.of(settings)["latency_ms"] for settings in wanted]
    ledger.close()
    assert found == [1.0, 2.0, 3.0, 4.0, 1.0]


@pytest.mark.parametrize("form", FORMS)
def test_the_built_in_space_of_a_form_makes_students_of_that_form(
    form: str, small_data: Path, prepared: PreparedData
) -> None:
    found = plan(small_data, form=form)
    assert set(found.space.parameters) == set(built_in_search_space("none", form).parameters)
    sizes = StudentSizes(found.config, prepared, base=None)
    assert {form_of(sizes.shape(point)) for point in found.space.points()} == {form}


def test_numbers_of_sensors_are_left_out_where_no_student_has_any(small_data: Path) -> None:
    space = SearchSpace.from_json(SPACE)
    assert "sensor_rank" in plan(small_data, space, form="paper").space.parameters
    alone = space.with_fixed({"form": "paper"})
    assert "sensor_rank" not in plan(small_data, alone).space.parameters


def test_a_budget_looks_at_the_ends_of_every_form(small_data: Path, prepared: PreparedData) -> None:
    space = SearchSpace.from_json(SPACE)
    sizes = StudentSizes(sweep(), prepared, base=None)
    largest = largest_shape(space, sizes)
    ends = [
        sizes.of({"form": form, "sensor_rank": rank})["parameters"]
        for form in FORMS
        for rank in (1, 3)
    ]
    assert largest.parameters == max(ends)
    with pytest.raises(UserError, match=f"at least {min(ends)}, the smallest student"):
        plan(small_data, space, max_parameters=min(ends) - 1)


def test_networks_as_wide_as_a_teacher_are_searched(
    small_data: Path, prepared: PreparedData
) -> None:
    found = plan(small_data, network="teacher")
    sizes = StudentSizes(found.config, prepared, base=None)
    assert {sizes.shape(point).channels for point in found.space.points()} == {
        FORMS["direct"].teacher
    }
    assert found.space.largest("block1_hidden") == found.space.smallest("block1_hidden") == 16
    assert found.space.largest("sensor_rank") > 1


def test_wrong_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown form 'driect'; did you mean 'direct'"):
        sweep(form="driect")
    with pytest.raises(UnknownNameError, match="unknown network 'teachers'"):
        sweep(network="teachers")
    with pytest.raises(UserError, match="--network says what is trained from scratch"):
        sweep(method="prune", network="teacher")


def test_sweeps_from_before_there_were_forms_are_of_the_papers() -> None:
    values = sweep(form="paper").to_json()
    del values["form"], values["network"]
    assert SweepConfig.from_json(values) == sweep(form="paper")
    assert SweepConfig.from_json(sweep().to_json()).form == "direct"


def test_the_base_of_pruning_has_the_form_of_its_sweep() -> None:
    bases = {form: pruning_base(form) for form in FORMS}
    heads = {form: base.form.head for form, base in bases.items()}
    assert heads == {"paper": "step", "direct": "horizon"}
    assert len({base.channels for base in bases.values()}) == 1
