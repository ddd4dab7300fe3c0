from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from core.checkpoint import save_file, save_model
from core.errors import CheckpointError, ConfigError, UnknownNameError
from core.experiments import network_shape, new_network
from core.forms import FORMS, form_of
from core.preprocessing.prepare import PreparedData, prepare
from core.stgcn import PRUNING_BASE_CHANNELS, STGCN, BlockChannels, STGCNConfig
from core.training.teacher_files import teacher_folder
from core.training.teachers import (
    Teacher,
    TeacherConfig,
    default_teacher,
    find_teacher,
    find_teachers,
    open_teacher,
)
from core.training.trainer import TrainingConfig

CONFIG = TeacherConfig(((1, 2, 3), (3, 2, 3)))


@pytest.fixture(scope="module")
def data(tiny_dataset) -> PreparedData:
    return prepare(tiny_dataset)


def network(data: PreparedData) -> STGCN:
    shape = STGCNConfig(data.card.num_sensors, CONFIG.channels, data.history_steps)
    return new_network(shape, data.graph_kernel, seed=0)


def put_teacher(
    storage: Path,
    data: PreparedData,
    name: str,
    val_mae: float,
    model: STGCN | None = None,
    **settings: object,
) -> Path:
    """A teacher as if it had been trained."""
    folder = teacher_folder(storage, name)
    metadata = {
        "dataset_fingerprint": data.fingerprint,
        "settings": {**asdict(CONFIG), **settings},
        "metrics": {"val_mae": val_mae},
        "seconds": 12.5,
    }
    save_model(folder / "teacher.safetensors", model or network(data), metadata)
    return folder


def network_of(data: PreparedData, channels: tuple[BlockChannels, ...], form: str) -> STGCN:
    shape = network_shape(data, channels, FORMS[form].network)
    return new_network(shape, data.graph_kernel, seed=0)


# Fingerprints


def test_what_identifies_a_teacher(data):
    same = TeacherConfig(((1, 2, 3), (3, 2, 3)), replace(CONFIG.training))
    found = {CONFIG.fingerprint_for(data), same.fingerprint_for(data)}
    assert len(found) == 1
    others = [
        TeacherConfig(((1, 2, 3), (3, 2, 4))),
        replace(CONFIG, training=replace(CONFIG.training, seed=1)),
        replace(CONFIG, training=replace(CONFIG.training, learning_rate=2.1e-3)),
        replace(CONFIG, training=TrainingConfig()),
    ]
    found |= {config.fingerprint_for(data) for config in others}
    found.add(CONFIG.fingerprint_for(replace(data, fingerprint="other")))
    found.add(CONFIG.fingerprint_for(replace(data, history_steps=13)))
    assert len(found) == 7


def test_a_teacher_of_the_paper_is_known_by_what_it_always_was(data):
    """Neither its form nor its error is in its fingerprint, nor in its file."""
    settings = CONFIG.to_json()
    assert settings.keys() == {"channels", "training"}
    assert "error" not in settings["training"]
    direct = replace(CONFIG, form=FORMS["direct"].network)
    absolute = replace(CONFIG, training=replace(CONFIG.training, error="mae"))
    assert absolute.to_json()["training"]["error"] == "mae"
    assert "missing_mask" not in direct.to_json()["form"]
    masked = replace(direct, form=replace(direct.form, missing_mask=True))
    prints = [one.fingerprint_for(data) for one in (CONFIG, direct, absolute, masked)]
    assert len(set(prints)) == 4


# On the disk


def test_a_teacher_is_read_as_it_was_written(tmp_path, data):
    folder = put_teacher(tmp_path, data, "t1", 2.5)
    teacher = open_teacher(folder)
    assert folder == tmp_path / "teachers" / "t1"
    shape = network(data).config
    assert teacher == Teacher(
        folder, (shape,), data.fingerprint, teacher.settings, metrics={"val_mae": 2.5}, seconds=12.5
    )
    assert teacher.fingerprint == "t1"
    assert teacher.targets_folder == folder / "targets"
    assert teacher.settings["training"]["epochs"] == CONFIG.training.epochs
    assert teacher.settings["channels"] == [[1, 2, 3], [3, 2, 3]]


def test_its_network_is_loaded_frozen(tmp_path, data):
    teacher = open_teacher(put_teacher(tmp_path, data, "t1", 2.5))
    model = teacher.load(data)
    for name, value in network(data).state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_file_of_another_kind_is_no_teacher(tmp_path, data):
    folder = put_teacher(tmp_path, data, "t1", 2.5)
    save_file(folder / "teacher.safetensors", {"predictions": torch.zeros(2)}, {"key": "k"})
    with pytest.raises(CheckpointError, match=r"t1 must hold a teacher: .*; train it again"):
        open_teacher(folder)


def test_a_model_that_is_no_teacher_is_refused(tmp_path, data):
    save_model(tmp_path / "teacher.safetensors", network(data), {"trial": 3})
    with pytest.raises(CheckpointError, match=r"must hold a teacher: .*; train it again"):
        open_teacher(tmp_path)


def put_damaged_teacher(storage: Path, data: PreparedData, name: str) -> None:
    """The best of all, cut short."""
    file = put_teacher(storage, data, name, 0.5) / "teacher.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def test_a_damaged_teacher_is_refused(tmp_path, data):
    put_damaged_teacher(tmp_path, data, "t1")
    with pytest.raises(CheckpointError, match=r"t1/.* must be a whole .*make it again"):
        find_teacher(tmp_path, data, "t1")


# Beside a damaged one


def test_one_that_is_named_is_found_without_opening_others(tmp_path, data, caplog):
    put_damaged_teacher(tmp_path, data, "damaged")
    put_teacher(tmp_path, data, "whole", 2.5)
    assert find_teacher(tmp_path, data, "whole").fingerprint == "whole"
    assert not caplog.records


def test_the_best_is_the_best_whole_one_and_the_damaged_is_named(tmp_path, data, caplog):
    put_damaged_teacher(tmp_path, data, "damaged")
    assert find_teacher(tmp_path, data, None) is None
    put_teacher(tmp_path, data, "whole", 2.5)
    caplog.clear()
    assert find_teacher(tmp_path, data, None).fingerprint == "whole"
    (warning,) = caplog.messages
    assert warning.startswith("leaving out a damaged teacher: ")
    assert str(tmp_path / "teachers" / "damaged" / "teacher.safetensors") in warning
    assert "\n" not in warning


def test_an_unknown_name_lists_whole_ones(tmp_path, data, caplog):
    put_damaged_teacher(tmp_path, data, "damaged")
    put_teacher(tmp_path, data, "whole", 2.5)
    with pytest.raises(UnknownNameError, match=r"\(known: whole\)"):
        find_teacher(tmp_path, data, "other")
    assert len(caplog.messages) == 1


def test_a_name_is_never_a_path(tmp_path, data):
    put_teacher(tmp_path / "elsewhere", data, "t1", 2.5)
    for name in ("../elsewhere/teachers/t1", "", "."):
        with pytest.raises(UnknownNameError):
            find_teacher(tmp_path, data, name)


# Found again


def test_teachers_of_this_data_come_best_first(tmp_path, data):
    for name, val_mae in (("t1", 2.5), ("t2", 2.25), ("t3", 3.0)):
        put_teacher(tmp_path, data, name, val_mae)
    put_teacher(tmp_path, replace(data, fingerprint="other"), "t4", 1.0)
    (tmp_path / "teachers" / "unfinished" / "checkpoints").mkdir(parents=True)
    found = find_teachers(tmp_path, data.fingerprint)
    assert [one.fingerprint for one in found] == ["t2", "t1", "t3"]


def test_the_best_or_the_one_that_is_wanted(tmp_path, data):
    assert find_teacher(tmp_path, data, None) is None
    for name, val_mae in (("7f3a90", 2.5), ("c41d22", 2.25)):
        put_teacher(tmp_path, data, name, val_mae)
    assert find_teacher(tmp_path, data, None).fingerprint == "c41d22"
    assert find_teacher(tmp_path, data, "7f3a90").fingerprint == "7f3a90"


def test_the_best_of_a_form_is_of_that_form(tmp_path, data):
    put_teacher(tmp_path, data, "slow", 2.5)
    assert find_teacher(tmp_path, data, None, "direct") is None
    put_teacher(tmp_path, data, "quick", 2.0, network_of(data, CONFIG.channels, "direct"))
    assert find_teacher(tmp_path, data, None, "direct").fingerprint == "quick"
    assert find_teacher(tmp_path, data, None, "paper").fingerprint == "slow"
    assert find_teacher(tmp_path, data, None).fingerprint == "quick"
    assert find_teacher(tmp_path, data, "slow", "direct").fingerprint == "slow"


def test_a_pruning_base_teaches_only_if_named_but_a_student_of_its_widths_does(tmp_path, data):
    base = network_of(data, PRUNING_BASE_CHANNELS, "direct")
    put_teacher(tmp_path, data, "base", 2.0, base)
    assert find_teacher(tmp_path, data, None) is None
    assert find_teacher(tmp_path, data, "base").is_pruning_base
    put_teacher(tmp_path, data, "student", 2.5, base, sweep="first", trial=3)
    assert find_teacher(tmp_path, data, None).fingerprint == "student"


@pytest.mark.parametrize("form", FORMS)
def test_each_form_has_a_teacher(form, data):
    config = default_teacher(form)
    assert config.channels == FORMS[form].teacher
    assert config.training.error == FORMS[form].error
    shape = network_shape(data, config.channels, config.form)
    assert (form_of(shape), shape.sensor_rank) == (form, FORMS[form].teacher_rank or 4)


def test_the_papers_default_teacher_is_what_it_always_was():
    assert default_teacher("paper") == TeacherConfig()


def test_an_unknown_teacher_comes_with_the_nearest(tmp_path, data):
    put_teacher(tmp_path, data, "7f3a90", 2.5)
    text = r"unknown teacher of tiny '7f3a9'; did you mean '7f3a90'\? \(known: 7f3a90\)"
    with pytest.raises(UnknownNameError, match=text):
        find_teacher(tmp_path, data, "7f3a9")


def test_a_teacher_of_other_data_is_refused(tmp_path, data):
    put_teacher(tmp_path, replace(data, fingerprint="other"), "7f3a90", 2.5)
    assert find_teacher(tmp_path, data, None) is None
    with pytest.raises(ConfigError, match="but 7f3a90 was trained on other data or with the rule"):
        find_teacher(tmp_path, data, "7f3a90")
    with pytest.raises(UnknownNameError, match="there is none yet"):
        find_teacher(tmp_path, data, "7f3a91")
