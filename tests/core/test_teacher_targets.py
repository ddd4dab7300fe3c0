from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.checkpoint import save_file, save_model
from core.datasets.synthetic import build_synthetic
from core.distillation import teacher_targets
from core.distillation.teacher_targets import load_teacher_targets, predict_windows
from core.experiments import new_network
from core.preprocessing.prepare import PreparedData, prepare
from core.preprocessing.windows import window_rows
from core.stgcn import STGCN, STGCNConfig


@pytest.fixture(scope="module")
def data(tiny_dataset) -> PreparedData:
    return prepare(tiny_dataset)


@pytest.fixture(scope="module")
def teacher(data) -> STGCN:
    return network(data, seed=0)


@pytest.fixture
def path(tmp_path, data, teacher) -> Path:
    """A file of targets, built."""
    file = tmp_path / "targets.safetensors"
    load_teacher_targets(file, teacher, "t1", data)
    return file


@pytest.fixture
def no_building(monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("targets were built")

    monkeypatch.setattr(teacher_targets, "predict_windows", refuse)


def network(data: PreparedData, seed: int) -> STGCN:
    shape = STGCNConfig(data.card.num_sensors, ((1, 3, 5), (5, 3, 4)), data.history_steps)
    return new_network(shape, data.graph_kernel, seed)


# What they hold


@pytest.mark.parametrize("day_kind", ["weekdays", "consecutive"])
def test_predictions_are_those_of_every_window_by_itself(data, teacher, tmp_path, day_kind):
    """Three consecutive days make one stretch, longer than what one pass takes."""
    data = replace(data, card=replace(data.card, day_kind=day_kind))
    targets = load_teacher_targets(tmp_path / "targets", teacher, "t1", data)
    rows = window_rows(data.stretches("train"), data.window_steps)
    assert len(rows) == {"weekdays": 3 * 268, "consecutive": 3 * 288 - 20}[day_kind]
    windows = torch.stack([data.readings[row : row + 12] for row in rows])
    with torch.no_grad():
        wanted, _ = teacher(windows[:, None])
    torch.testing.assert_close(targets.predictions[rows], wanted[:, 0], rtol=0.0, atol=1e-6)
    others = torch.ones(len(data.readings), dtype=torch.bool)
    others[rows] = False
    assert targets.predictions[others].isnan().all()
    assert targets.predictions.shape == data.readings.shape


@pytest.mark.parametrize("needs", [set(), {"prediction"}, {"features"}, {"prediction", "features"}])
def test_a_loss_gets_what_it_needs_and_no_more(data, teacher, path, needs):
    rows = torch.tensor([300, 5, 288])
    targets = load_teacher_targets(path, teacher, "t1", data)
    output = targets.of(rows, needs)
    windows = torch.stack([data.readings[row : row + 12] for row in rows])[:, None]
    with torch.no_grad():
        prediction, features = teacher(windows)
    if "prediction" in needs:
        torch.testing.assert_close(output.prediction, prediction[:, 0], rtol=0.0, atol=1e-6)
    else:
        assert output.prediction is None
    if "features" in needs:
        torch.testing.assert_close(output.features.temporal, features.temporal)
        torch.testing.assert_close(output.features.spatial, features.spatial)
        assert not any(layer.requires_grad for layer in output.features.temporal)
    else:
        assert output.features is None


def test_the_teacher_is_frozen(data, path):
    trained = network(data, seed=0)
    targets = load_teacher_targets(path, trained, "t1", data)
    assert not any(parameter.requires_grad for parameter in targets.teacher.parameters())


# When they are built


def test_whole_targets_are_not_built_again(data, teacher, path, no_building):
    before = path.stat()
    targets = load_teacher_targets(path, teacher, "t1", data)
    assert targets.predictions.isfinite().any()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def flip(place: int) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        at = place % len(content)
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    return damage


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-1], lambda content: b"", flip(0), flip(20), flip(-24_000)],
    ids=["truncated", "empty", "length", "header", "value"],
)
def test_damaged_targets_are_built_again(data, teacher, path, damage):
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    targets = load_teacher_targets(path, teacher, "t1", data)
    assert path.read_bytes() == whole
    wanted = predict_windows(teacher, data)
    assert torch.equal(targets.predictions.nan_to_num(9.0), wanted.nan_to_num(9.0))


def test_targets_of_another_teacher_are_built_again(data, path):
    other = network(data, seed=1)
    targets = load_teacher_targets(path, other, "t2", data)
    wanted = predict_windows(other, data)
    assert torch.equal(targets.predictions.nan_to_num(9.0), wanted.nan_to_num(9.0))


def test_targets_of_other_data_are_built_again(data, teacher, path, monkeypatch):
    built = []
    build = predict_windows
    monkeypatch.setattr(
        teacher_targets, "predict_windows", lambda *known: (built.append(1), build(*known))[1]
    )
    for fingerprint in (data.fingerprint, "other", "other", data.fingerprint):
        load_teacher_targets(path, teacher, "t1", replace(data, fingerprint=fingerprint))
    assert len(built) == 2


def test_a_file_of_another_kind_is_replaced(data, teacher, path):
    whole = path.read_bytes()
    save_file(path, {"weights": torch.zeros(3)}, {"trial": 3})
    load_teacher_targets(path, teacher, "t1", data)
    assert path.read_bytes() == whole


def test_whoever_has_targets_open_keeps_them_when_they_are_built_again(data, teacher, path):
    mine = load_teacher_targets(path, teacher, "t1", data)
    before = mine.predictions.clone()
    load_teacher_targets(path, network(data, seed=1), "t2", data)
    assert torch.equal(mine.predictions.nan_to_num(9.0), before.nan_to_num(9.0))


BUILD_SCRIPT = """
import os, sys, time
from pathlib import Path
from core.checkpoint import load_model
from core.datasets.dataset import open_dataset
from core.distillation import teacher_targets
from core.preprocessing.prepare import prepare

folder, build = Path(sys.argv[1]), teacher_targets.predict_windows

def build_slowly(teacher, data):
    (folder / f"built-by-{os.getpid()}").touch()
    time.sleep(1.0)
    return build(teacher, data)

teacher_targets.predict_windows = build_slowly
data = prepare(open_dataset(folder / "tiny"))
teacher, _ = load_model(folder / "teacher", data.graph_kernel)
(folder / f"ready-{os.getpid()}").touch()
while not (folder / "go").exists():
    time.sleep(0.01)
targets = teacher_targets.load_teacher_targets(folder / "targets", teacher, "t1", data)
print(targets.predictions.nansum().item())
"""


@pytest.mark.slow
def test_two_processes_at_once_build_once(tmp_path):
    data = prepare(build_synthetic(tmp_path / "tiny", num_sensors=4, split=(1, 1, 1)))
    save_model(tmp_path / "teacher", network(data, seed=0), {})
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD_SCRIPT, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    while len(list(tmp_path.glob("ready-*"))) < 2:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    (tmp_path / "go").touch()
    sums = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sums[0] == sums[1]
    assert len(list(tmp_path.glob("built-by-*"))) == 1
