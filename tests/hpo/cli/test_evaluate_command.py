"""``hpo evaluate`` judges sensors and times as ``hpo data import`` does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hpo.cli.main import run
from tests.small_exports import Exported
from tests.small_students import ROWS_PER_DAY, SENSORS

Output = pytest.CaptureFixture[str]


@pytest.fixture
def frame(exported: Exported) -> pd.DataFrame:
    """Two days of readings with their times."""
    rows = 2 * ROWS_PER_DAY
    table = pd.DataFrame(exported.dataset.readings[:rows], columns=list(SENSORS))
    table.insert(0, "time", pd.date_range("2012-05-01", periods=rows, freq="15min"))
    return table


def evaluate(exported: Exported, table: pd.DataFrame, folder: Path, *more: str) -> int:
    path = folder / "readings.csv"
    table.to_csv(path, index=False)
    given = ["evaluate", str(exported.folder), "--readings", str(path), "--time-column", "time"]
    return run([*given, "--format", "json", *more])


def test_order_of_rows_and_columns_changes_nothing(
    exported: Exported, frame: pd.DataFrame, tmp_path: Path, capsys: Output
) -> None:
    answers = []
    shuffled = frame.sample(frac=1.0, random_state=0)
    turned = frame[[*reversed(SENSORS), "time"]]
    for table, more in ((frame, ()), (turned, ()), (shuffled, ("--sort-times",))):
        assert evaluate(exported, table, tmp_path, *more) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0]["windows"] > 0
    assert answers[1] == answers[0]
    assert answers[2] == answers[0]


def test_rows_left_out_become_gaps_on_request(
    exported: Exported, frame: pd.DataFrame, tmp_path: Path, capsys: Output
) -> None:
    whole = frame.copy()
    whole.loc[50:51, list(SENSORS)] = np.nan
    assert evaluate(exported, whole, tmp_path) == 0
    expected = json.loads(capsys.readouterr().out)
    assert evaluate(exported, frame.drop(index=[50, 51]), tmp_path, "--fill-times") == 0
    assert json.loads(capsys.readouterr().out) == expected


def spread(table: pd.DataFrame, minutes: int) -> pd.DataFrame:
    times = pd.date_range("2012-05-01", periods=len(table), freq=f"{minutes}min")
    return table.assign(time=times)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one.sample(frac=1.0, random_state=0), "must increase.* say --sort-times"),
        (
            lambda one: spread(one, 5),
            r"must be 15 minutes apart.* 00:00:00 is followed by .* 00:05",
        ),
        (lambda one: one.drop(index=[50]), r"apart.* followed by .* say --fill-times"),
        (lambda one: pd.concat([one[:9], one[8:-1]]), r"02:00:00 in row 10 and in row 11; leave"),
        (lambda one: one.rename(columns={"east": "eastt"}), "'eastt' .*did you mean 'east'"),
    ],
)
def test_what_import_refuses_is_refused(
    exported: Exported, frame: pd.DataFrame, tmp_path: Path, capsys: Output, change, message: str
) -> None:
    assert evaluate(exported, change(frame), tmp_path) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert pd.Series([said.err]).str.contains(message).all(), said.err


def test_a_file_of_other_order_is_forecast_for_the_right_sensors(
    exported: Exported, frame: pd.DataFrame, tmp_path: Path, capsys: Output
) -> None:
    answers = []
    for number, columns in enumerate((list(SENSORS), list(reversed(SENSORS)))):
        path = tmp_path / f"{number}.csv"
        frame[["time", *columns]].to_csv(path, index=False)
        given = ["forecast", str(exported.folder), "--readings", str(path)]
        assert run([*given, "--time-column", "time", "--format", "json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1]
