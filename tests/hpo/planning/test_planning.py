"""A plan, or everything that is wrong: found before the storage or a dataset is touched."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.datasets.dataset import open_dataset
from core.datasets.synthetic import build_synthetic
from core.errors import UserError
from core.experiments import train_teacher
from core.forms import DEFAULT_FORM, FORMS
from core.preprocessing.prepare import PreparedData
from core.stgcn import STUDENT_CHANNELS
from core.training.teachers import TeacherConfig
from core.training.trainer import TrainingConfig
from hpo.planning.places import Places
from hpo.planning.sweep_planning import open_planned_data, plan_sweep
from hpo.records.sweep_folder import SweepFolder
from hpo.space.search_space import SearchSpace, built_in_search_space
from hpo.sweep import run_sweep
from hpo.sweep_config import SweepConfig

GOOD = {"name": "night", "method": "none", "dataset": "small", "trials": 2, "epochs": 1}
USUAL = FORMS[DEFAULT_FORM].network


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def refuse(places: Places, message: str, space: SearchSpace | None = None, **wrong: Any) -> None:
    """Check that planning and running refuse these settings with one line and write nothing."""
    before = contents(places.storage.parent), contents(places.data)
    for entrance in (plan_sweep, run_sweep):
        with pytest.raises(UserError, match=message) as caught:
            entrance(SweepConfig(**{**GOOD, **wrong}), places, space)
        assert "\n" not in str(caught.value)
    assert (contents(places.storage.parent), contents(places.data)) == before


def test_a_plan_names_the_sampler_that_auto_chose(places: Places) -> None:
    config = SweepConfig(**{**GOOD, "sampler": "auto"})
    assert plan_sweep(config, places)[0].config == replace(config, sampler="gp")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "odr"}, r"unknown method 'odr'; did you mean 'ord'\?"),
        ({"dataset": "smal"}, r"unknown dataset 'smal'; did you mean 'small'\?"),
        ({"dataset": "../small"}, r"a dataset name must start .*got '\.\./small'"),
        ({"pairs": 5}, r"pairs are for methods with SCD, scd and stcd, got 'none'; leave pairs"),
        ({"sampler": "tpee"}, r"unknown sampler 'tpee'; did you mean 'tpe'\?"),
        ({"scheduler": "ahsa"}, r"unknown scheduler 'ahsa'; did you mean 'asha'\?"),
        ({"targets_gigabytes": -1.0}, r"--targets-gigabytes must be at least 0, got -1\.0"),
        ({"targets_gigabytes": math.nan}, r"--targets-gigabytes must be at least 0, got nan"),
        ({"objective": "val_mea"}, r"unknown objective 'val_mea'; did you mean 'val_mae'\?"),
        ({"method": "ord", "teacher": "feed"}, r"unknown teacher of small 'feed' .*none yet"),
        ({"name": "../night"}, r"a sweep name must start"),
        ({"name": "teachers"}, r"cannot be called 'teachers'; choose another name"),
        ({"name": "confirmation"}, r"cannot be called 'confirmation'; choose another name"),
        ({"trials": 0}, r"--trials must be at least 1"),
        ({"epochs": 0}, r"--epochs must be at least 1"),
        ({"gpus_per_trial": 1.5}, r"--gpus-per-trial must be at most 1 or a whole number"),
        ({"gpus_per_trial": -1.0}, r"--gpus-per-trial must be auto, or not negative"),
        ({"gpus_per_trial": math.nan}, r"--gpus-per-trial must be auto, or not negative"),
        ({"seed": -1}, r"--seed must be from 0"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    places: Places, wrong: dict[str, Any], message: str
) -> None:
    refuse(places, message, **wrong)


def test_a_space_of_another_method_is_refused(places: Places) -> None:
    refuse(places, "must be one of method none, got one of ord", built_in_search_space("ord"))


def test_a_batch_larger_than_the_data_is_refused(places: Places, prepared: PreparedData) -> None:
    day = prepared.card.steps_per_day - prepared.window_steps + 1
    # Of two training days that need not be neighbours, in segments of five at any offset.
    windows = 2 * ((day - 4) // 5 * 5)
    space = built_in_search_space("none")
    document = space.to_json()
    sizes = {"type": "categorical", "choices": [16, windows + 1]}
    document = {**document, "parameters": {**document["parameters"], "batch_size": sizes}}
    document["first_points"] = []
    message = (
        rf"with batch_size={windows + 1} windows_per_segment=5 batch_size must not exceed the "
        rf"{windows} training windows .*; narrow the space by --space or --set"
    )
    refuse(places, message, SearchSpace.from_json(document))
    sizes["choices"] = [16, windows]
    plan_sweep(SweepConfig(**GOOD), places, SearchSpace.from_json(document))


def test_a_batch_smaller_than_a_segment_is_refused(places: Places) -> None:
    document = built_in_search_space("none").to_json()
    sizes = {"type": "categorical", "choices": [4, 16]}
    parameters = {**document["parameters"], "batch_size": sizes}
    space = SearchSpace.from_json({**document, "parameters": parameters, "first_points": []})
    message = (
        r"with batch_size=4 windows_per_segment=5 windows_per_segment must not exceed batch_size = "
        r"4, got 5; narrow the space by"
    )
    refuse(places, message, space)
    fitting = space.holding({"windows_per_segment": 1})
    plan_sweep(SweepConfig(**GOOD), places, fitting)


def test_a_name_that_is_taken_is_refused(places: Places) -> None:
    plan, _ = plan_sweep(SweepConfig(**GOOD), places)
    SweepFolder(places.storage / "night").write_plan(plan)
    refuse(places, r"'night' exists in .*go on with it by `hpo resume night` or choose another")
    plan_sweep(SweepConfig(**{**GOOD, "name": "day"}), places)


def test_a_storage_below_a_file_is_refused(places: Places, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    below = replace(places, storage=tmp_path / "file" / "runs")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"file/runs must be writable, but .*--storage"):
        run_sweep(SweepConfig(**GOOD), below)
    assert contents(tmp_path) == before


def test_a_plan_fixes_what_its_trials_rely_on(places: Places, prepared: PreparedData) -> None:
    plan, data = plan_sweep(SweepConfig(**GOOD), places)
    assert not places.storage.exists()
    assert plan.config == SweepConfig(**GOOD)
    assert plan.space == built_in_search_space("none")
    assert plan.dataset_fingerprint == data.fingerprint == prepared.fingerprint
    assert plan.teacher_fingerprint is None
    assert Path(plan.data_folder).is_absolute()
    assert plan.baselines.keys() == {"repeat_last"}
    assert plan.baselines["repeat_last"]["val_mae_15"] > 0


def test_a_teacher_of_another_form_is_not_pruned(
    places: Places, prepared: PreparedData, small_data: Path
) -> None:
    quick = TrainingConfig(epochs=1, windows_per_segment=5)
    paper = train_teacher(
        prepared, TeacherConfig(STUDENT_CHANNELS, quick), places.storage, lambda _: None
    )
    wrong = {"method": "prune", "base": "teacher", "teacher": paper.fingerprint}
    message = f"a teacher of form direct, but {paper.fingerprint} is paper; give --form paper"
    with pytest.raises(UserError, match=message):
        plan_sweep(SweepConfig(**{**GOOD, **wrong}), places)
    found, _ = plan_sweep(SweepConfig(**{**GOOD, **wrong, "form": "paper"}), places)
    assert found.base_fingerprint == paper.fingerprint


def test_the_best_teacher_of_this_data_is_taken(
    places: Places, prepared: PreparedData, small_data: Path, tmp_path: Path
) -> None:
    quick = TrainingConfig(epochs=1, windows_per_segment=5)
    teachers = [
        train_teacher(
            prepared,
            TeacherConfig(STUDENT_CHANNELS, replace(quick, learning_rate=rate), USUAL),
            places.storage,
            lambda _: None,
        )
        for rate in (1e-6, 1e-2)
    ]
    best = min(teachers, key=lambda teacher: teacher.metrics["val_mae"])
    config = SweepConfig(**{**GOOD, "method": "ord"})
    plan, _ = plan_sweep(config, places)
    assert plan.teacher_fingerprint == best.fingerprint
    assert plan.baselines["teacher"] == best.metrics
    worst = next(teacher for teacher in teachers if teacher is not best)
    chosen, _ = plan_sweep(replace(config, teacher=worst.fingerprint), places)
    assert chosen.teacher_fingerprint == worst.fingerprint
    message = rf"unknown teacher of small '{worst.fingerprint[:-1]}'; did you mean"
    with pytest.raises(UserError, match=message):
        plan_sweep(replace(config, teacher=worst.fingerprint[:-1]), places)


def test_a_sweep_goes_on_with_its_own_data_only(tmp_path: Path) -> None:
    data_folder = tmp_path / "data"
    build_synthetic(data_folder / "small", seed=1, num_sensors=4, split=(2, 1, 1))
    plan, data = plan_sweep(SweepConfig(**GOOD), Places(data_folder, tmp_path / "runs"))
    assert open_planned_data(plan).fingerprint == data.fingerprint
    (data_folder / "small").rename(data_folder / "old")
    with pytest.raises(UserError, match="unknown dataset 'small'"):
        open_planned_data(plan)
    build_synthetic(data_folder / "small", seed=2, num_sensors=4, split=(2, 1, 1))
    assert open_dataset(data_folder / "small").fingerprint != data.fingerprint
    with pytest.raises(UserError, match=r"must go on with the data it began with, but .*'small'"):
        open_planned_data(plan)
