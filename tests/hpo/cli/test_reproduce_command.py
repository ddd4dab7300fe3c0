"""``hpo reproduce`` before anything is trained: its plan, and the mistakes it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpo.cli.main import run

Output = pytest.CaptureFixture[str]


def asked(small_data: Path, storage: Path, *more: object) -> list[str]:
    given = ["reproduce", *more, "--data", small_data, "--storage", storage]
    return [str(one) for one in given]


def test_a_plan_trains_nothing(small_data: Path, tmp_path: Path, capsys: Output) -> None:
    few = ["--dataset", "small", "--trials", 2, "--epochs", 1, "--seeds", 2, "--dry-run"]
    assert run(asked(small_data, tmp_path / "runs", "2", *few)) == 0
    told = capsys.readouterr().out
    assert "16 trainings left: no training of this data has ended" in told
    assert run(asked(small_data, tmp_path / "runs", "2", *few, "--format", "json")) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["left"], plan["seconds_of_one_worker"]) == (16, None)
    assert [row["left"] for row in plan["sweeps"]] == [4] * 4
    assert plan["sweeps"][1]["sweep"] == "reproduce-small-paper-tuned-2x1-rdl2"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["11"], "unknown table '11'"),
        (["2", "--seeds", 1], "at least 2, got 1"),
        (["2", "--form", "dirct"], "did you mean 'direct'"),
        (["2", "--dataset", "smal"], "did you mean 'small'"),
        (["2", "--budget", "soon"], "--budget must be a time such as 2h"),
        (["2", "--out", "table.pdf"], "must end with .md or .html"),
        (["2", "--recipe", "paper", "--trials", 3], "searches nothing"),
    ],
)
def test_a_mistake_is_one_line(
    wrong: list[object], said: str, small_data: Path, tmp_path: Path, capsys: Output
) -> None:
    given = wrong if "--dataset" in wrong else [*wrong, "--dataset", "small"]
    assert run(asked(small_data, tmp_path / "runs", *given)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert told.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_table_1_needs_no_training(small_data: Path, tmp_path: Path, capsys: Output) -> None:
    given = ["1", "--dataset", "small", "--form", "direct", "--out", tmp_path / "r.md"]
    assert run(asked(small_data, tmp_path / "runs", *given)) == 0
    told = capsys.readouterr().out
    assert "Parameters, FLOPs and seconds of 1,140 windows" in told
    assert "| student |" in (tmp_path / "r.md").read_text()
