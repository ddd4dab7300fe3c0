"""Sweeps in another space that begin with what the trials of an earlier one found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets.synthetic import build_synthetic
from core.errors import ConfigError, StorageError
from hpo.cli.main import run
from hpo.planning.places import Places
from hpo.planning.sweep_planning import check_sweep, make_plan, plan_sweep
from hpo.planning.told_trials import settings_in, told_by, without_told
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import ToldTrial
from hpo.records.sweep_state import SweepState
from hpo.space.parameters import Choices, Range
from hpo.space.search_space import SearchSpace, built_in_search_space
from hpo.sweep_config import SweepConfig
from hpo.trials.trial_settings import trained_as

CONFIG = SweepConfig("first", "none", "small", trials=6, epochs=3, form="paper")
SPACE = built_in_search_space("none", "paper")
SETTINGS = {
    "batch_size": 50,
    "learning_rate": 0.01,
    "optimizer": "adam",
    "schedule": "step",
    "windows_per_segment": 5,
}


def narrowed(space: SearchSpace = SPACE, **parameters: Any) -> SearchSpace:
    """``space`` with other parameters, None: without it; no first points."""
    kept = {name: one for name, one in {**space.parameters, **parameters}.items() if one}
    return SearchSpace(space.method, kept, ())


def note(ledger: Ledger, status: str | None, error: float = 3.0, **changes: Any) -> None:
    number = len(ledger.state.trials)
    ledger.append("suggested", trial=number, settings={**SETTINGS, **changes}, seed=70 + number)
    if status == "infeasible":
        ledger.append("ended", trial=number, status=status, metrics={}, reason="too large")
        return
    for epoch in (1, 2):
        metrics = {"val_mae": error + 1 / epoch}
        ledger.append("epoch", trial=number, epoch=epoch, metrics=metrics)
    if status is not None:
        metrics = {"val_mae": error}
        facts = {"sizes": {"parameters": 900, "flops": 5000}, "reason": None}
        ledger.append("ended", trial=number, status=status, metrics=metrics, **facts)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    folder = tmp_path_factory.mktemp("told")
    build_synthetic(folder / "data" / "small", seed=1, num_sensors=4, split=(2, 1, 1))
    return Places(folder / "data", folder / "runs")


@pytest.fixture(scope="module")
def folder(places: Places) -> SweepFolder:
    """Trials that finished, was stopped, failed, was too large, run; rates of 0.01 and 0.001."""
    folder = SweepFolder(places.storage.resolve() / "first")
    folder.write_plan(plan_sweep(CONFIG, places)[0])
    ledger = Ledger(folder.ledger_file)
    for status in ("finished", "pruned", "failed", "infeasible", None):
        note(ledger, status)
    note(ledger, "finished", 2.0, learning_rate=0.001)
    ledger.close()
    return folder


def state_of(folder: SweepFolder) -> SweepState:
    return read_ledger(folder.ledger_file)


def test_ended_trials_within_the_space_are_told_as_they_were(folder: SweepFolder) -> None:
    plan, state = folder.read_plan(), state_of(folder)
    config = replace(CONFIG, name="second")
    told = told_by(plan, state, config, SPACE)
    assert [(one.number, one.status) for one in told.trials] == [
        (0, "finished"),
        (1, "pruned"),
        (2, "failed"),
        (5, "finished"),
    ]
    for one in told.trials:
        own = state.trials[one.number]
        given_back = json.loads(json.dumps(vars(one)))
        again = ToldTrial(**given_back).trial()
        assert (again.settings, again.seed, again.status) == (own.settings, own.seed, own.status)
        assert (again.metrics, again.sizes) == (own.metrics, own.sizes)
        assert again.history == {2: own.history[2]}
    narrow = narrowed(learning_rate=Range("float", 0.005, 0.02, log=True))
    assert [one.number for one in told_by(plan, state, config, narrow).trials] == [0, 1, 2]


def test_a_plan_keeps_what_was_told(
    folder: SweepFolder, places: Places, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(CONFIG, name="second")
    told = told_by(folder.read_plan(), state_of(folder), config, SPACE)
    plan = make_plan(check_sweep(config, places, SPACE, told))
    second = SweepFolder(tmp_path / "second")
    second.write_plan(plan)
    assert run(["status", "second", "--storage", str(tmp_path)]) == 0
    assert "its sampler began with 4 trials of first" in capsys.readouterr().out
    assert second.read_plan() == plan
    assert second.read_plan().told == second.read_outline().told == told.trials
    fields = json.loads(second.plan_file.read_text())
    del fields["told"]  # as earlier versions wrote it
    second.plan_file.write_text(json.dumps(fields))
    assert second.read_plan().told == ()
    second.plan_file.write_text(json.dumps({**fields, "told": [{"sweep": "first"}]}))
    with pytest.raises(StorageError, match="must be a sweep's plan"):
        second.read_plan()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset": "large"}, "of the same dataset alone, small, not large; leave --dataset out"),
        ({"epochs": 9}, "of the same epochs alone, 3, not 9; leave --epochs out, or --space and"),
    ],
)
def test_what_cannot_be_compared_is_not_told(
    folder: SweepFolder, changes: dict[str, Any], said: str
) -> None:
    config = replace(CONFIG, name="second", **changes)
    with pytest.raises(ConfigError, match=said):
        told_by(folder.read_plan(), state_of(folder), config, SPACE)


def test_a_space_without_any_of_the_trials_is_refused(folder: SweepFolder) -> None:
    far = narrowed(learning_rate=Range("float", 0.5, 1.0))
    with pytest.raises(ConfigError, match="but none of its 4 lies there; widen the space"):
        told_by(folder.read_plan(), state_of(folder), CONFIG, far)


def test_other_data_of_the_same_name_are_refused(folder: SweepFolder, places: Places) -> None:
    plan = replace(folder.read_plan(), dataset_fingerprint="0" * 16)
    config = replace(CONFIG, name="second")
    told = told_by(plan, state_of(folder), config, SPACE)
    with pytest.raises(ConfigError, match=r"but these are others; begin with .*--warm-start first"):
        check_sweep(config, places, SPACE, told)


def test_first_points_that_were_tried_are_left_out(folder: SweepFolder, places: Places) -> None:
    config = replace(CONFIG, name="second")
    ledger = Ledger(folder.path / "other.jsonl")
    for point in SPACE.points()[:1]:
        note(ledger, "finished", **point)
    told = told_by(folder.read_plan(), ledger.state, config, SPACE)
    ledger.close()
    left = without_told(SPACE, told.trials)
    assert left.points() == SPACE.points()[1:]
    assert make_plan(check_sweep(config, places, SPACE, told)).space.points() == left.points()


# Which settings are the same student's.


def test_a_parameter_that_the_trials_did_not_search_takes_what_they_had() -> None:
    widened = narrowed(
        block1_hidden=Range("int", 1, 8),  # the paper's students have 2 there
        error=Choices(("huber", "mse", "mae")),
        windows_per_segment=Choices((1, 5)),
    )
    settings = {name: SETTINGS[name] for name in SETTINGS.keys() - {"windows_per_segment"}}
    found = settings_in(narrowed(widened, block1_hidden=Choices((4, 2))), settings, CONFIG)
    assert found == {**SETTINGS, "block1_hidden": 2, "error": "mse"}
    # No choice, end or first point of the space is what they had.
    assert settings_in(widened, settings, CONFIG) is None
    assert settings_in(narrowed(error=Choices(("mae",))), SETTINGS, CONFIG) is None


def test_a_parameter_that_is_no_longer_searched_must_have_its_default() -> None:
    fixed = narrowed(optimizer=None)
    assert settings_in(fixed, {**SETTINGS, "optimizer": "adam"}, CONFIG) is None
    found = settings_in(fixed, {**SETTINGS, "optimizer": "rmsprop"}, CONFIG)
    assert found == {name: SETTINGS[name] for name in SETTINGS if name != "optimizer"}


@given(
    st.sampled_from(["adam", "rmsprop"]),
    st.floats(1e-4, 1e-1),
    st.sampled_from([16, 25, 50]),
    st.sampled_from(["adam", "rmsprop", None]),
    st.floats(1e-4, 1e-2),
)
def test_what_lies_in_a_space_is_the_same_student_with_values_of_it(
    optimizer: str, rate: float, batch: int, held: str | None, low: float
) -> None:
    settings = {**SETTINGS, "optimizer": optimizer, "learning_rate": rate, "batch_size": batch}
    space = narrowed(
        learning_rate=Range("float", low, 0.1, log=True),
        batch_size=Choices((16, 50)),
        optimizer=None if held is None else Choices((held,)),
    )
    found = settings_in(space, settings, CONFIG)
    default = "rmsprop" if held is None else held
    assert (found is not None) == (rate >= low and batch != 25 and optimizer == default)
    if found is not None:
        assert found.keys() == space.parameters.keys()
        assert all(space.parameters[name].contains(value) for name, value in found.items())
        assert trained_as(CONFIG, found) == trained_as(CONFIG, settings)


# The command.


def test_a_clone_in_another_space_is_told_what_lies_there(
    folder: SweepFolder, places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["clone", "first", "--name", "second", "--storage", str(places.storage)]
    command += ["--dry-run", "--format", "json", "--set", "learning_rate=0.001"]
    assert run(command) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["space"]["parameters"]["learning_rate"] == {
        "type": "categorical",
        "choices": [0.001],
    }
    begins = "the sampler begins with 1 of the 4 ended trials of first; the others lie outside"
    assert begins in shown.err
    assert run([*command, "--epochs", "9"]) == 2
    assert "leave --epochs out" in capsys.readouterr().err
    assert not (places.storage / "second").exists()
