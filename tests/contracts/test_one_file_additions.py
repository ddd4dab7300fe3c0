"""A new loss, sampler, scheduler, optimiser or schedule is one entry: nothing else is edited."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from core.datasets.synthetic import build_synthetic
from core.distillation.losses import make_loss
from core.errors import ConfigError
from core.experiments import TrainedStudent, distill_student, train_teacher
from core.preprocessing.prepare import PreparedData, prepare
from core.training.teachers import Teacher, TeacherConfig
from core.training.trainer import TrainingConfig
from hpo.cli.main import run
from hpo.planning.places import Places
from hpo.planning.sweep_planning import plan_sweep
from hpo.search.samplers import make_sampler
from hpo.space.parameters import Range
from hpo.space.search_space import SearchSpace, built_in_search_space, load_search_space
from hpo.sweep_config import SweepConfig
from hpo.trials.trial_settings import student_config
from tests.contracts.added_entries import ENTRIES, SPACE

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (registry, entry) in ENTRIES.items():
        assert name not in registry
        monkeypatch.setitem(registry, name, entry)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    folder = tmp_path_factory.mktemp("added")
    build_synthetic(folder / "data" / "small", seed=1, num_sensors=4, split=(2, 1, 1))
    return Places(folder / "data", folder / "runs")


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    file = tmp_path / "softened.yaml"
    file.write_text(SPACE)
    return file


@pytest.fixture
def space(space_file: Path) -> SearchSpace:
    return load_search_space(space_file)


def config(**changes: object) -> SweepConfig:
    own = {"name": "night", "method": "softened", "dataset": "small", "epochs": 2}
    return SweepConfig(**{**own, "sampler": "uniform", "scheduler": "patient", **changes})


def test_each_is_searched(space: SearchSpace) -> None:
    study = optuna.create_study(sampler=make_sampler("uniform", seed=3))
    drawn = [study.ask(space.distributions()).params for _ in range(40)]
    temperatures = [point["temperature"] for point in drawn]
    assert 0.5 <= min(temperatures) < 1.0
    assert 5.0 < max(temperatures) <= 10.0
    assert {point["optimizer"] for point in drawn} == {"adamw", "adam"}
    assert {point["schedule"] for point in drawn} == {"linear", "step"}
    assert SearchSpace.from_json(json.loads(json.dumps(space.to_json()))) == space


def test_a_sweep_of_them_is_planned(space: SearchSpace, places: Places) -> None:
    plan, _ = plan_sweep(config(), places, space)
    assert plan.space == space
    assert (plan.config.sampler, plan.config.scheduler) == ("uniform", "patient")
    assert SweepConfig.from_json(json.loads(json.dumps(plan.config.to_json()))) == plan.config


def test_pruning_searches_the_loss_that_teaches_and_leaves_out_the_others(places: Places) -> None:
    pruning = built_in_search_space("prune")
    both = {**pruning.parameters, "beta": Range("float", 0, 1)}
    space = SearchSpace("prune", {**both, "temperature": Range("float", 0.5, 10)}, ())
    own = {"stcd": {"alpha1", "alpha2", "alpha3"}, "softened": {"beta", "temperature"}}
    for loss, names in own.items():
        sweep = config(method="prune", loss=loss, epochs=8)
        found = plan_sweep(sweep, places, space)[0].space.parameters.keys()
        assert found & {name for names in own.values() for name in names} == names
    missing = config(method="prune", loss="softened")
    with pytest.raises(ConfigError, match=r"needs temperature, .* by --set temperature=5.25,"):
        plan_sweep(missing, places, SearchSpace("prune", both, ()))


@pytest.fixture(scope="module")
def data(places: Places) -> PreparedData:
    from core.datasets.loading import load_dataset

    return prepare(load_dataset(places.data, "small"))


@pytest.fixture(scope="module")
def teacher(data: PreparedData, places: Places) -> Teacher:
    training = TrainingConfig(1, 100, 5e-3, "adam", windows_per_segment=5)
    config = TeacherConfig(((1, 4, 6), (6, 4, 6)), training)
    return train_teacher(data, config, places.storage, ignore)


def ignore(report: object) -> None:
    pass


def test_a_student_is_trained_with_them(
    space: SearchSpace, data: PreparedData, teacher: Teacher
) -> None:
    def train(**changes: object) -> TrainedStudent:
        settings = {**space.points()[0], **changes}
        student = student_config(config(), settings, seed=0)
        return distill_student(data, teacher, student, None, ignore)

    trained = train()
    assert all(math.isfinite(value) for value in trained.metrics.values())
    assert "train_taught" in trained.metrics
    others = [{"temperature": 8.0}, {"optimizer": "adam"}, {"schedule": "step"}]
    errors = {trained.metrics["val_mae"], *(train(**one).metrics["val_mae"] for one in others)}
    assert len(errors) == 4


@pytest.mark.parametrize("value", [0.4, 11])
def test_out_of_range_is_refused_by_make_loss(value: float) -> None:
    wrong = rf"takes beta, temperature: temperature must be a number in \[0.5, 10\], got {value}"
    with pytest.raises(ConfigError, match=wrong) as caught:
        make_loss("softened", {"beta": 0.5, "temperature": value})
    assert "\n" not in str(caught.value)


def dry_run(places: Places, *arguments: str) -> int:
    found = ["--data", str(places.data), "--storage", str(places.storage), "--dry-run"]
    found += ["--format", "json"]
    return run(["sweep", "softened", "--dataset", "small", *found, *arguments])


def test_the_command_plans_them(places: Places, space_file: Path, capsys: Output) -> None:
    added = ["--sampler", "uniform", "--scheduler", "patient", "--set", "temperature=9.5"]
    assert dry_run(places, "--space", str(space_file), *added) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["space"]["parameters"]["temperature"]["choices"] == [9.5]
    assert plan["sweep"]["sampler"] == "uniform"


def test_out_of_range_is_refused_by_a_space(
    places: Places, space_file: Path, capsys: Output
) -> None:
    space_file.write_text(SPACE.replace("high: 10,", "high: 11,"))
    assert dry_run(places, "--space", str(space_file)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "parameters.temperature.high: must be a number from 0.5 to 10, got 11" in said


def test_out_of_range_is_refused_by_set(places: Places, space_file: Path, capsys: Output) -> None:
    assert dry_run(places, "--space", str(space_file), "--set", "temperature=11") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "temperature: must be a number from 0.5 to 10, got '11'" in said


@pytest.mark.parametrize(
    ("setting", "known"),
    [("optimizer", "rmsprop or adam or adamw"), ("schedule", "step or cosine or warmup or linear")],
)
def test_the_names_in_an_error_are_those_registered(setting: str, known: str) -> None:
    with pytest.raises(ConfigError, match=f"{setting} must be {known}, got 'lamb'"):
        replace(TrainingConfig(), **{setting: "lamb"})


def test_the_help_lists_them(capsys: Output) -> None:
    assert run(["sweep", "--help"]) == 0
    said = capsys.readouterr().out
    for name in ("softened", "uniform", "patient"):
        assert name in said, name
