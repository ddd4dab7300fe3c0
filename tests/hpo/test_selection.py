from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from core.errors import ConfigError, UnknownNameError
from hpo.cli.students.best import best as best_command
from hpo.records.ranked_trials import RankedTrial
from hpo.selection import best
from hpo.space.objectives import pareto_front
from tests.small_sweeps import make_sweep, record

KEYS = [
    *("rank", "sweep", "trial", "dataset", "method"),
    *("config", "metrics", "parameters", "flops", "confirmed", "better_than_last"),
]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Two sweeps of ``small`` and one of another dataset."""
    make_sweep(
        tmp_path,
        [
            record(0, 3.0, parameters=500),
            record(1, 2.0),
            record(2, 0.5, status="failed", reason="diverged"),
            record(3, 0.6, status="pruned"),
        ],
    )
    make_sweep(
        tmp_path,
        [
            record(0, 2.5, sweep="second", method="ord"),
            record(1, 1.5, sweep="second", method="ord", parameters=2000),
        ],
    )
    make_sweep(tmp_path, [record(0, 0.1, sweep="third", dataset="other")])
    return tmp_path


def found(rows: list[RankedTrial]) -> list[tuple[str, int]]:
    assert [row.rank for row in rows] == list(range(1, len(rows) + 1))
    return [(row.sweep, row.trial) for row in rows]


def test_the_best_of_all_sweeps_of_a_dataset(storage: Path) -> None:
    rows = best("small", storage)
    assert found(rows) == [("second", 1), ("first", 1), ("second", 0), ("first", 0)]
    assert [list(row.to_json()) for row in rows] == [KEYS] * 4
    assert rows[0].method == "ord"
    assert rows[0].parameters == 2000
    assert rows[0].metrics["val_mae_45"] == pytest.approx(1.95)


def test_config_is_what_a_trial_ran_with(storage: Path) -> None:
    assert best("small", storage)[1].to_json()["config"] == {
        "form": "paper",
        "learning_rate": 0.01,
        "batch_size": 50,
        "optimizer": "adam",
        "epochs": 4,
        "seed": 101,
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"top": 1}, [("second", 1)]),
        ({"method": "none"}, [("first", 1), ("first", 0)]),
        ({"method": "none", "top": 1}, [("first", 1)]),
        ({"method": "stcd"}, []),
        ({"max_parameters": 1000}, [("first", 1), ("second", 0), ("first", 0)]),
        ({"max_parameters": 999}, [("first", 0)]),
        ({"max_parameters": 1}, []),
        ({"metric": "val_rmse", "top": 2}, [("first", 0), ("second", 0)]),
        ({"pareto": True}, [("second", 1), ("first", 1), ("first", 0)]),
        ({"pareto": True, "top": 2}, [("second", 1), ("first", 1)]),
        ({"pareto": True, "metric": "val_rmse"}, [("first", 0)]),
    ],
)
def test_options(storage: Path, options: dict, expected: list[tuple[str, int]]) -> None:
    assert found(best("small", storage, **options)) == expected


def test_equal_trials_come_by_sweep_and_number(tmp_path: Path) -> None:
    make_sweep(tmp_path, [record(1, 2.0, sweep="b"), record(0, 2.0, sweep="b")])
    make_sweep(tmp_path, [record(5, 2.0, sweep="a")])
    assert found(best("small", tmp_path)) == [("a", 5), ("b", 0), ("b", 1)]


def test_a_trial_without_the_metric_is_left_out(tmp_path: Path) -> None:
    bare = replace(record(0, 1.0), metrics={"val_mae": float("nan")})
    make_sweep(tmp_path, [bare, record(1, 2.0)])
    assert found(best("small", tmp_path)) == [("first", 1)]
    assert found(best("small", tmp_path, metric="val_mae_15")) == [("first", 1)]


def test_other_data_of_the_same_name_are_not_mixed_in(tmp_path: Path) -> None:
    old = [record(0, 1.0, sweep="old", dataset_fingerprint="0" * 16)]
    make_sweep(tmp_path, old)
    make_sweep(tmp_path, [record(7, 2.0, sweep="new"), record(8, 9.0, sweep="new")])
    assert found(best("small", tmp_path)) == [("new", 7), ("new", 8)]


def test_the_data_searched_last_count_even_if_nothing_finished(tmp_path: Path) -> None:
    make_sweep(tmp_path, [record(0, 1.0, sweep="old", dataset_fingerprint="0" * 16)])
    make_sweep(tmp_path, [record(7, 2.0, sweep="new", status="failed")])
    assert best("small", tmp_path) == []


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("smal", {}, r"unknown dataset .*'smal'; did you mean 'small'\?.*other, small"),
        ("small", {"metric": "val_mea"}, r"unknown metric 'val_mea'; did you mean 'val_mae'"),
        ("small", {"metric": "test_mae"}, "unknown metric 'test_mae'"),
        ("small", {"method": "odr"}, r"unknown method 'odr'; did you mean 'ord'"),
    ],
)
def test_unknown_names(storage: Path, dataset: str, options: dict, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        best(dataset, storage, **options)


def test_an_empty_storage_knows_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'small' .*there is none yet"):
        best("small", tmp_path)


@pytest.mark.parametrize("option", ["top", "max_parameters"])
def test_less_than_one_is_refused(storage: Path, option: str) -> None:
    flag = option.replace("_", "-")
    with pytest.raises(ConfigError, match=f"--{flag} must be at least 1, got 0"):
        best("small", storage, **{option: 0})


SMALL_POINTS = st.tuples(st.integers(0, 5).map(float), st.integers(0, 5).map(float))


@given(st.lists(SMALL_POINTS, max_size=20))
def test_pareto_front_equals_the_naive_one(points: list[tuple[float, float]]) -> None:
    def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one[0] <= other[0] and one[1] <= other[1] and one != other

    naive = {
        index
        for index, point in enumerate(points)
        if not any(dominates(other, point) for other in points)
    }
    front = pareto_front(points)
    assert len(front) == len(naive)
    assert set(front) == naive
    assert [points[index][0] for index in front] == sorted(points[index][0] for index in front)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    """``hpo best`` alone, as a program is run."""
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    app.command()(best_command)
    return lambda *arguments: CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_command_prints_json_alone(storage: Path, run) -> None:
    answer = run("--dataset", "small", "--storage", str(storage), "--format", "json", "--top", "2")
    assert answer.exit_code == 0
    assert json.loads(answer.stdout) == [one.to_json() for one in best("small", storage, top=2)]
    assert answer.stderr == ""


def test_command_prints_a_table(storage: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_STORAGE", str(storage))
    answer = run("--dataset", "small", "--metric", "val_rmse", "--pareto")
    assert "7.000" in answer.stdout
    assert "hpo export first --top 1" in answer.stdout


def test_command_says_when_nothing_fits(storage: Path, run) -> None:
    answer = run("--dataset", "small", "--storage", str(storage), "--method", "stcd")
    assert answer.stdout == ""
    assert "no finished trial fits" in answer.stderr


def test_latency_is_shown_where_a_sweep_asked_for_it(storage: Path, run) -> None:
    make_sweep(storage, [record(0, 1.0, sweep="timed", latency_ms=3.456)])
    rows = best("small", storage)
    assert [row.to_json().get("latency_ms") for row in rows] == [3.456, *[None] * 4]
    given = ("--dataset", "small", "--storage", str(storage))
    table = run(*given).stdout.splitlines()
    assert [line.split()[-1] for line in table[1:4]] == ["ms", "3.46", "-"]
    untimed = run(*given, "--method", "ord").stdout.splitlines()
    assert untimed[1].split()[-1] == "parameters"


def test_a_renamed_sweep_is_called_as_its_folder(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, [record(0, 1.0)])
    folder.path.rename(tmp_path / "renamed")
    (row,) = best("small", tmp_path)
    assert row.sweep == "renamed"
