"""Sweeps that go on: more trials, what may not change, times, and points of another sweep."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets.synthetic import build_synthetic
from core.errors import ConfigError, StorageError
from hpo.cli.display.durations import read_duration
from hpo.cli.main import run
from hpo.planning.extending import check_comparable, clone_of, extend
from hpo.planning.places import Places
from hpo.planning.sweep_planning import plan_sweep
from hpo.planning.warm_start import WARM_POINTS, with_best_of
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan, extended_plan
from hpo.records.sweep_state import SweepState
from hpo.space.search_space import SearchSpace, built_in_search_space
from hpo.sweep_config import SweepConfig
from tests.small_sweeps import make_sweep, record

NONE = built_in_search_space("none", "paper")


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    """A sweep that was planned with 20 trials."""
    folder = make_sweep(tmp_path / "runs", [record(0, 1.0)])
    Ledger(folder.ledger_file).close()
    return folder


def planned(folder: SweepFolder) -> int:
    return extended_plan(folder.read_plan(), read_ledger(folder.ledger_file)).config.trials


def test_more_trials_stand_in_the_ledger_and_the_plan_stays(folder: SweepFolder) -> None:
    before = folder.plan_file.read_bytes()
    assert planned(folder) == 20
    for wanted in (20, 30, 30, 35):
        extend(folder, wanted, read_ledger(folder.ledger_file))
        assert planned(folder) == wanted
    assert folder.plan_file.read_bytes() == before
    lines = folder.ledger_file.read_text().splitlines()
    assert [f'"trials": {count}' in line for count, line in zip((30, 35), lines, strict=True)]


def test_trials_can_only_be_raised(folder: SweepFolder) -> None:
    extend(folder, 30, SweepState())
    with pytest.raises(ConfigError, match="only be raised, but sweep 'first' has 30 already, got"):
        extend(folder, 29, read_ledger(folder.ledger_file))


@pytest.mark.parametrize("trials", [0, -1, "40", 30])
def test_a_ledger_takes_no_extension_that_is_none(folder: SweepFolder, trials: object) -> None:
    ledger = Ledger(folder.ledger_file)
    ledger.append("extended", trials=30)
    with pytest.raises(StorageError, match="does not fit the ones before"):
        ledger.append("extended", trials=trials)
    assert ledger.state.extended_to == 30


def test_what_stays_the_same_may_be_said_again(folder: SweepFolder) -> None:
    plan = folder.read_plan()
    check_comparable(plan, {"epochs": None, "objective": "val_mae"}, None)
    check_comparable(plan, {"epochs": 30}, plan.space)


def test_every_difference_is_named(folder: SweepFolder) -> None:
    plan = folder.read_plan()
    document = plan.space.to_json()
    before = document["parameters"]["learning_rate"]["high"]
    document["parameters"]["learning_rate"]["high"] = 0.02
    del document["parameters"]["schedule"]
    document["first_points"] = []
    wanted = SearchSpace.from_json(document)
    with pytest.raises(ConfigError) as told:
        check_comparable(plan, {"epochs": 9, "objective": "val_mae"}, wanted)
    text = str(told.value)
    assert "'first' began with epochs 30, not 9; " in text
    assert f"parameters.learning_rate.high {before}, not 0.02" in text
    assert "parameters.schedule.choices ['step', 'cosine'], not absent" in text
    assert "objective" not in text
    assert text.endswith("begin another sweep with --warm-start first")


def test_resume_refuses_what_cannot_be_compared(
    folder: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = folder.ledger_file.read_bytes()
    given = ["resume", "first", "--storage", str(folder.storage)]
    assert run([*given, "--epochs", "50"]) == 2
    assert "began with epochs 30, not 50" in capsys.readouterr().err
    assert run([*given, "--space", "ord"]) == 2
    assert "method none, not ord" in capsys.readouterr().err
    assert folder.ledger_file.read_bytes() == before


def test_status_counts_the_trials_that_were_asked_for_since(
    folder: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    extend(folder, 33, SweepState())
    assert run(["status", "first", "--storage", str(folder.storage)]) == 0
    assert "0 of 33 trials ended" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("0.5h", 1800), ("1h 5s", 3605)],
)
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert read_duration("--time-budget", text) == seconds
    assert read_duration("--time-budget", None) is None


@pytest.mark.parametrize("text", ["", "2", "h", "-1h", "0m", "2 hours", "1m2h", "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--time-budget must be a time such as 2h, 90m or 1h30m"):
        read_duration("--time-budget", text)


@given(st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))
def test_times_add_up(hours: int, minutes: int, seconds: int) -> None:
    found = read_duration("--time-budget", f"{hours}h{minutes}m{seconds}s")
    assert found == hours * 3600 + minutes * 60 + seconds


def warm(tmp_path: Path, rates: list[float], **changes: object) -> SweepFolder:
    """A sweep whose trials are the better, the later."""
    shared = {"batch_size": 50, "optimizer": "adam", "schedule": "step"}
    records = [
        record(number, 9.0 - number, settings={**shared, "learning_rate": rate}, **changes)
        for number, rate in enumerate(rates)
    ]
    return make_sweep(tmp_path / "runs", records)


def test_the_best_of_another_sweep_come_first(tmp_path: Path) -> None:
    rates = [0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.005, 0.007]
    space = with_best_of(NONE, warm(tmp_path, rates, dataset="elsewhere"), "paper")
    points = space.first_points
    found = [point.values["learning_rate"] for point in points[:WARM_POINTS]]
    assert found == [0.007, 0.005, 0.006, 0.004, 0.003]
    assert points[0].source == "sweep first, trial 7"
    assert points[WARM_POINTS:] == NONE.first_points
    assert space.parameters == NONE.parameters
    SearchSpace.from_json(space.to_json())


def test_points_outside_the_space_are_left_out(tmp_path: Path) -> None:
    folder = warm(tmp_path, [0.01, 5.0])
    assert len(with_best_of(NONE, folder, "paper").first_points) == len(NONE.first_points) + 1


def test_what_the_other_sweep_did_not_search_is_taken_from_the_spaces_own_start(
    tmp_path: Path,
) -> None:
    folder = warm(tmp_path, [0.02])
    (first, *_) = with_best_of(NONE, folder, "paper").first_points
    assert first.values["learning_rate"] == 0.02
    assert first.values["windows_per_segment"] == NONE.points()[0]["windows_per_segment"]
    assert first.values.keys() == NONE.parameters.keys()
    with pytest.raises(ConfigError, match="within the search space"):
        with_best_of(replace(NONE, first_points=()), folder, "paper")


def test_no_point_within_the_space_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="within the search space, but 'first' has none"):
        with_best_of(NONE, warm(tmp_path, [5.0]), "paper")
    with pytest.raises(ConfigError, match="of method ord, but 'first' is of method none"):
        with_best_of(built_in_search_space("ord", "paper"), warm(tmp_path, [0.01]), "paper")
    with pytest.raises(
        ConfigError, match=r"of form direct, but 'first' is of form paper; .*--form"
    ):
        with_best_of(built_in_search_space("none"), warm(tmp_path, [0.01]), "direct")
    with pytest.raises(
        ConfigError, match=r"of family astgcn, but 'first' is of family stgcn; .*--family stgcn"
    ):
        with_best_of(NONE, warm(tmp_path, [0.01]), "paper", "astgcn")


def test_a_sweep_begins_with_the_best_of_another(
    tmp_path: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = warm(tmp_path, [0.004])
    places = ["--data", str(small_data), "--storage", str(folder.storage)]
    given = ["sweep", "none", "--dataset", "small", "--form", "paper", "--dry-run", *places]
    given += ["--format", "json"]
    assert run([*given, "--warm-start", "first"]) == 0
    assert '"source": "sweep first, trial 0"' in capsys.readouterr().out
    assert run([*given, "--warm-start", "frist"]) == 2
    assert "did you mean 'first'?" in capsys.readouterr().err


def test_a_plan_without_an_extension_is_itself(folder: SweepFolder) -> None:
    plan: SweepPlan = folder.read_plan()
    assert extended_plan(plan, SweepState()) == plan


def test_a_clone_differs_in_what_was_said_alone(folder: SweepFolder) -> None:
    extend(folder, 30, read_ledger(folder.ledger_file))
    plan = extended_plan(folder.read_plan(), read_ledger(folder.ledger_file))
    plan = replace(plan, teacher_fingerprint="t" * 16)
    changes = {"dataset": None, "trials": None, "epochs": 7, "seed": None}
    config = clone_of(plan, "second", changes)
    assert config == replace(plan.config, name="second", epochs=7, teacher="t" * 16)
    assert config.trials == 30


def test_a_clone_on_other_data_takes_a_teacher_of_those(folder: SweepFolder) -> None:
    plan = replace(folder.read_plan(), teacher_fingerprint="t" * 16)
    assert clone_of(plan, "second", {"dataset": "small"}).teacher == "t" * 16
    config = clone_of(plan, "second", {"dataset": "large"})
    assert (config.dataset, config.teacher) == ("large", None)


def test_a_clone_is_planned_as_its_original_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, storage = tmp_path / "data", tmp_path / "runs"
    build_synthetic(data / "small", seed=1, num_sensors=4, split=(2, 1, 1))
    config = SweepConfig("first", "none", "small", trials=3, epochs=2, seed=5)
    folder = SweepFolder(storage / "first")
    folder.write_plan(plan_sweep(config, Places(data, storage))[0])
    Ledger(folder.ledger_file).close()
    command = ["clone", "first", "--name", "second", "--dry-run", "--storage", str(storage)]
    command += ["--format", "json"]
    assert run(command) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["sweep"] == {**config.to_json(), "name": "second"}
    assert planned["space"] == folder.read_plan().space.to_json()
    assert not (storage / "second").exists()
    assert run([*command[:3], "first", *command[4:]]) == 2
    assert "a new sweep needs a new name, but 'first' exists" in capsys.readouterr().err
