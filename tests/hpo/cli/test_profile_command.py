"""``hpo profile``: an export beside the teacher that its manifest names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from core.checkpoint import save_model
from core.datasets.dataset import Dataset
from core.evaluation.profiling import count_flops, count_parameters
from core.experiments import new_network
from core.export.export_folder import StudentFacts, export_student
from core.preprocessing.prepare import PreparedData, prepare
from core.stgcn import STGCN, STGCNConfig
from hpo.cli.main import run
from tests.small_students import LINEAGE, make_dataset, make_student, stand_in_forecasters

Output = pytest.CaptureFixture[str]
WIDE = ((1, 8, 16), (16, 8, 40))
"""Not those of Table 1's pruning base, which is nobody's teacher unless named."""
NAMED, OTHER = "a" * 16, "b" * 16


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("data") / "small")


@pytest.fixture(scope="module")
def data(dataset: Dataset) -> PreparedData:
    return prepare(dataset)


@pytest.fixture(autouse=True)
def same_threads_afterwards():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def exported(
    folder: Path, dataset: Dataset, data: PreparedData, teacher: str | None, monkeypatch
) -> Path:
    stand_in_forecasters(monkeypatch)
    facts = StudentFacts({"method": "ord"}, {}, {**LINEAGE, "teacher_fingerprint": teacher})
    export_student(folder, make_student(data), data, dataset.adjacency, facts)
    return folder


def wide_network(data: PreparedData) -> STGCN:
    config = STGCNConfig(data.card.num_sensors, WIDE, data.history_steps)
    return new_network(config, data.graph_kernel, seed=1)


def leave_teacher(
    storage: Path, name: str, data: PreparedData, val_mae: float, of: str | None = None
) -> None:
    facts = {
        "dataset_fingerprint": of or data.fingerprint,
        "settings": {},
        "metrics": {"val_mae": val_mae},
        "seconds": 1.0,
    }
    save_model(storage / "teachers" / name / "teacher.safetensors", wide_network(data), facts)


def profile(folder: Path, storage: Path, *more: str) -> int:
    return run(["profile", str(folder), "--storage", str(storage), "--threads", "1", *more])


def as_json(folder: Path, storage: Path, capsys: Output, code: int = 0) -> dict[str, Any]:
    given = ("--windows", "1", "--windows", "3", "--format", "json")
    assert profile(folder, storage, *given) == code
    return json.loads(capsys.readouterr().out)


def test_student_and_its_teacher_side_by_side(
    tmp_path: Path, dataset: Dataset, data: PreparedData, capsys: Output, monkeypatch
) -> None:
    folder = exported(tmp_path / "export", dataset, data, NAMED, monkeypatch)
    leave_teacher(tmp_path / "runs", NAMED, data, val_mae=2.0)
    leave_teacher(tmp_path / "runs", OTHER, data, val_mae=1.0)
    answer = as_json(folder, tmp_path / "runs", capsys)
    sizes = {"student": make_student(data), "teacher": wide_network(data)}
    for who, model in sizes.items():
        assert answer[who]["parameters"] == count_parameters(model)
        assert answer[who]["flops"] == count_flops(model)
        for windows in ("1", "3"):
            quantiles = answer[who]["latency_ms"][windows]
            assert 0 < quantiles["p10"] <= quantiles["p50"] <= quantiles["p90"]
    assert answer["teacher"]["fingerprint"] == NAMED
    assert (answer["device"], answer["threads"]) == ("cpu", 1)
    student, teacher = sizes.values()
    assert answer["ratio"]["parameters"] == count_parameters(teacher) / count_parameters(student)
    assert answer["ratio"]["flops"] == count_flops(teacher) / count_flops(student)
    assert answer["ratio"]["latency"].keys() == {"1", "3"}


def test_a_student_without_a_teacher_is_held_against_the_best_of_its_data(
    tmp_path: Path, dataset: Dataset, data: PreparedData, capsys: Output, monkeypatch
) -> None:
    folder = exported(tmp_path / "export", dataset, data, None, monkeypatch)
    leave_teacher(tmp_path / "runs", NAMED, data, val_mae=2.0)
    leave_teacher(tmp_path / "runs", OTHER, data, val_mae=1.0)
    leave_teacher(tmp_path / "runs", "c" * 16, data, val_mae=0.5, of="f" * 16)
    assert as_json(folder, tmp_path / "runs", capsys)["teacher"]["fingerprint"] == OTHER


def test_a_teacher_that_is_gone_is_missed_and_the_student_shown(
    tmp_path: Path, dataset: Dataset, data: PreparedData, capsys: Output, monkeypatch
) -> None:
    folder = exported(tmp_path / "export", dataset, data, NAMED, monkeypatch)
    leave_teacher(tmp_path / "runs", OTHER, data, val_mae=1.0)
    answer = as_json(folder, tmp_path / "runs", capsys)
    assert (answer["teacher"], answer["ratio"]) == (None, None)
    assert profile(folder, tmp_path / "runs", "--windows", "1") == 0
    out, err = capsys.readouterr()
    assert "holds no teacher of this student; point --storage at it" in err
    assert "ratio" not in out


def damage(storage: Path, name: str) -> Path:
    file = storage / "teachers" / name / "teacher.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    return file


def test_a_damaged_teacher_of_others_is_not_opened(
    tmp_path: Path, dataset: Dataset, data: PreparedData, capsys: Output, monkeypatch, caplog
) -> None:
    folder = exported(tmp_path / "export", dataset, data, NAMED, monkeypatch)
    leave_teacher(tmp_path / "runs", NAMED, data, val_mae=2.0)
    leave_teacher(tmp_path / "runs", OTHER, data, val_mae=1.0)
    damage(tmp_path / "runs", OTHER)
    assert as_json(folder, tmp_path / "runs", capsys)["teacher"]["fingerprint"] == NAMED
    assert not caplog.records


def test_the_best_whole_teacher_is_taken_and_a_damaged_one_named(
    tmp_path: Path, dataset: Dataset, data: PreparedData, capsys: Output, monkeypatch, caplog
) -> None:
    folder = exported(tmp_path / "export", dataset, data, None, monkeypatch)
    leave_teacher(tmp_path / "runs", NAMED, data, val_mae=2.0)
    leave_teacher(tmp_path / "runs", OTHER, data, val_mae=1.0)
    file = damage(tmp_path / "runs", OTHER)
    answer = as_json(folder, tmp_path / "runs", capsys, code=1)
    assert answer["teacher"]["fingerprint"] == NAMED
    assert [str(file) in message for message in caplog.messages] == [True]


def test_a_damaged_teacher_that_is_named_is_one_line(
    tmp_path: Path, dataset: Dataset, data: PreparedData, capsys: Output, monkeypatch
) -> None:
    folder = exported(tmp_path / "export", dataset, data, NAMED, monkeypatch)
    leave_teacher(tmp_path / "runs", NAMED, data, val_mae=2.0)
    file = damage(tmp_path / "runs", NAMED)
    assert profile(folder, tmp_path / "runs") == 2
    assert f"hpo: {file} must be a whole safetensors file" in capsys.readouterr().err


def test_the_table_names_windows_device_and_threads(
    tmp_path: Path, dataset: Dataset, data: PreparedData, capsys: Output, monkeypatch
) -> None:
    folder = exported(tmp_path / "export", dataset, data, NAMED, monkeypatch)
    leave_teacher(tmp_path / "runs", NAMED, data, val_mae=1.0)
    assert profile(folder, tmp_path / "runs") == 0
    out = capsys.readouterr().out
    student = count_parameters(make_student(data))
    teacher = count_parameters(wide_network(data))
    (row,) = [line.split() for line in out.splitlines() if line.startswith("parameters")]
    assert row == ["parameters", f"{student:,}", f"{teacher:,}", f"{teacher / student:.1f}"]
    for text in ("ms, 1 windows", "ms, 1,140 windows", "cpu, 1 threads", "ratio"):
        assert text in out


def test_no_less_than_one_thread_or_window(
    tmp_path: Path, dataset: Dataset, data: PreparedData, capsys: Output, monkeypatch
) -> None:
    folder = exported(tmp_path / "export", dataset, data, None, monkeypatch)
    assert run(["profile", str(folder), "--threads", "0"]) == 2
    assert "--threads must be at least 1, got 0" in capsys.readouterr().err
    assert profile(folder, tmp_path, "--windows", "0") == 2
    assert "windows must be at least 1, got 0" in capsys.readouterr().err
