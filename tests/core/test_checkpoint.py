from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from core.checkpoint import CheckpointFolder, load_file, load_model, save_file, save_model
from core.errors import CheckpointError, ConfigError, ShapeError
from core.stgcn import STGCN, STGCNConfig

KERNEL = torch.eye(3).repeat(3, 1, 1)
CONFIG = STGCNConfig(3, ((1, 2, 4), (4, 2, 3)))


@pytest.fixture
def checkpoints(tmp_path: Path) -> CheckpointFolder:
    """Holds the states of epochs 1 to 3; two of them are kept."""
    folder = CheckpointFolder(tmp_path / "run")
    for epoch in (1, 2, 3):
        save_state(folder, epoch)
    return folder


def save_state(checkpoints: CheckpointFolder, epoch: int) -> None:
    tensors = {"weights": torch.full((4, 5), float(epoch)), "step": torch.tensor(float(epoch))}
    checkpoints.save(epoch, tensors, {"epoch": epoch, "metrics": {"val_mae": 1 / epoch}})


def newest_epoch(checkpoints: CheckpointFolder) -> int | None:
    """The epoch of the newest state, after a look at its tensors."""
    newest = checkpoints.newest()
    if newest is None:
        return None
    tensors, metadata = newest
    epoch: int = metadata["epoch"]
    assert metadata == {"epoch": epoch, "metrics": {"val_mae": 1 / epoch}}
    assert set(tensors) == {"weights", "step"}
    assert torch.equal(tensors["weights"], torch.full((4, 5), float(epoch)))
    assert torch.equal(tensors["step"], torch.tensor(float(epoch)))
    return epoch


def files_of(checkpoints: CheckpointFolder) -> list[Path]:
    return sorted(checkpoints.folder.iterdir())


def flip_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


# Training states


def test_the_newest_state_comes_back(checkpoints):
    assert newest_epoch(checkpoints) == 3


def test_as_many_as_asked_for_are_kept(tmp_path, checkpoints):
    assert [path.name[:11] for path in files_of(checkpoints)] == ["epoch-00002", "epoch-00003"]
    only_one = CheckpointFolder(tmp_path / "one", keep=1)
    for epoch in (9, 10):
        save_state(only_one, epoch)
    assert [path.name[:11] for path in files_of(only_one)] == ["epoch-00010"]


def test_epochs_are_compared_as_numbers(tmp_path):
    checkpoints = CheckpointFolder(tmp_path)
    for epoch in (99_998, 99_999, 100_000):
        save_state(checkpoints, epoch)
    assert newest_epoch(checkpoints) == 100_000
    assert len(files_of(checkpoints)) == 2


def test_no_folder_no_state(tmp_path):
    checkpoints = CheckpointFolder(tmp_path / "never")
    assert checkpoints.newest() is None
    checkpoints.clear()


@pytest.mark.parametrize("place", [0, 10, 100, -1])
def test_one_flipped_byte_gives_the_state_before(checkpoints, place):
    flip_byte(files_of(checkpoints)[-1], place)
    assert newest_epoch(checkpoints) == 2


def test_a_truncated_file_gives_the_state_before(checkpoints):
    cut_short(files_of(checkpoints)[-1])
    assert newest_epoch(checkpoints) == 2


def test_an_empty_file_gives_the_state_before(checkpoints):
    files_of(checkpoints)[-1].write_bytes(b"")
    assert newest_epoch(checkpoints) == 2


def test_with_no_whole_state_there_is_none(checkpoints):
    for path in files_of(checkpoints):
        cut_short(path)
    assert checkpoints.newest() is None


def test_what_a_killed_writer_left_is_not_read(checkpoints):
    newest = files_of(checkpoints)[-1]
    aside = newest.with_name(f".{newest.name.replace('00003', '00004')}.x7f3")
    aside.write_bytes(newest.read_bytes()[:100])
    (checkpoints.folder / "epoch-00009.safetensors").write_bytes(b"not ours")
    assert newest_epoch(checkpoints) == 3


def test_clear_leaves_nothing(checkpoints):
    newest = files_of(checkpoints)[-1]
    newest.with_name(f".{newest.name}.x7f3").write_bytes(b"half a state")
    checkpoints.clear()
    assert checkpoints.newest() is None
    assert not checkpoints.folder.exists()


def test_clear_spares_what_is_not_its_own(checkpoints):
    (checkpoints.folder / "notes.txt").write_text("mine")
    checkpoints.clear()
    assert [path.name for path in files_of(checkpoints)] == ["notes.txt"]


def test_a_state_outlives_damaged_ones_of_later_epochs(checkpoints):
    """A run that starts over must not lose its first states to damaged ones that lie around."""
    for path in files_of(checkpoints):
        cut_short(path)
    save_state(checkpoints, 1)
    assert newest_epoch(checkpoints) == 1
    assert len(files_of(checkpoints)) == 1


def test_a_damaged_state_makes_room_for_its_epoch_done_again(checkpoints):
    newest = files_of(checkpoints)[-1]
    cut_short(newest)
    newest.rename(newest.with_name(f"epoch-00003-{'f' * 16}.safetensors"))
    save_state(checkpoints, 3)
    assert newest_epoch(checkpoints) == 3
    cut_short(files_of(checkpoints)[-1])
    assert newest_epoch(checkpoints) == 2


# Model files


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    path = tmp_path / "models" / "student.safetensors"
    save_model(path, STGCN(CONFIG, KERNEL), {"trial": 7, "metrics": {"val_mae": 2.5}})
    return path


def test_a_model_comes_back_as_it_was(model_file):
    torch.manual_seed(3)
    wanted = STGCN(CONFIG, KERNEL)
    model, metadata = load_model(model_file, KERNEL)
    assert metadata == {"trial": 7, "metrics": {"val_mae": 2.5}}
    assert model.config == CONFIG
    assert set(model.state_dict()) == set(wanted.state_dict())
    for name, value in wanted.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    history = torch.randn(2, 1, 12, 3)
    assert torch.equal(model(history)[0], wanted(history)[0])


def test_a_loaded_model_trains_without_touching_its_file(model_file):
    before = model_file.read_bytes()
    model, _ = load_model(model_file, KERNEL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert model_file.read_bytes() == before


def test_nothing_needs_pickle(model_file, checkpoints, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pickle was used")

    for name in ("load", "loads", "dump", "dumps", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    save_state(checkpoints, 4)
    assert newest_epoch(checkpoints) == 4
    load_model(model_file, KERNEL)


def test_a_model_file_is_read_with_json_and_numpy_alone(model_file):
    content = model_file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    metadata = json.loads(header.pop("__metadata__")["json"])
    assert metadata["config"] == json.loads(json.dumps(CONFIG.to_json()))
    model, _ = load_model(model_file, KERNEL)
    for name, value in model.state_dict().items():
        begin, end = header[name]["data_offsets"]
        stored = np.frombuffer(body[begin:end], np.float32).reshape(header[name]["shape"])
        assert np.array_equal(stored, value.numpy())


def test_metadata_that_is_not_json_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_file(tmp_path / "model", {"x": torch.zeros(1)}, {"val_mae": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", None])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors must be a whole .*make it again"
    ):
        load_file(path)


def test_a_truncated_model_is_refused(model_file):
    cut_short(model_file)
    with pytest.raises(CheckpointError, match="must be a whole safetensors file"):
        load_model(model_file, KERNEL)


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(CheckpointError, match="must be a whole safetensors file"):
        load_model(tmp_path, KERNEL)


def test_weights_must_fit_their_config(tmp_path):
    path = tmp_path / "wrong.safetensors"
    wider = STGCNConfig(3, ((1, 2, 4), (4, 2, 5)))
    save_file(path, STGCN(CONFIG, KERNEL).state_dict(), {"config": wider.to_json()})
    with pytest.raises(CheckpointError, match="must hold a network that fits its own config"):
        load_model(path, KERNEL)


@pytest.mark.parametrize("metadata", [{}, {"config": {"width": 3}}, {"config": 3}])
def test_a_file_without_a_config_is_no_model(tmp_path, metadata):
    path = tmp_path / "targets.safetensors"
    save_file(path, {"predictions": torch.zeros(3)}, metadata)
    with pytest.raises(CheckpointError, match="must hold a network"):
        load_model(path, KERNEL)


def test_a_config_out_of_range_says_so(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(path, {}, {"config": {**CONFIG.to_json(), "history_steps": 3}})
    with pytest.raises(ConfigError, match="history_steps must exceed 8"):
        load_model(path, KERNEL)


def test_a_model_of_another_graph_is_refused(model_file):
    with pytest.raises(ShapeError, match=r"must have shape \[3, 3, 3\].*got \[3, 5, 5\]"):
        load_model(model_file, torch.eye(5).repeat(3, 1, 1))
