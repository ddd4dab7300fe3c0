"""``hpo forecast`` and ``hpo export --verify``: every form of answer, one line for mistakes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.datasets.dataset import open_dataset
from core.export.export_folder import open_export
from core.preprocessing.prepare import data_fingerprint
from hpo.cli.main import run
from tests.small_exports import Exported
from tests.small_students import SENSORS, WINDOWS_PER_DAY, make_dataset

Output = pytest.CaptureFixture[str]


@pytest.fixture
def values(exported: Exported) -> np.ndarray:
    data = exported.data
    return data.scaler.unscale(data.readings[100:130]).numpy()


@pytest.fixture
def frame(values: np.ndarray) -> pd.DataFrame:
    times = pd.date_range(end="2012-05-01 12:00", periods=30, freq="15min")
    return pd.DataFrame(values, columns=list(SENSORS)).assign(time=times)


@pytest.fixture
def csv(frame: pd.DataFrame, tmp_path: Path) -> Path:
    frame.to_csv(tmp_path / "readings.csv", index=False)
    return tmp_path / "readings.csv"


def forecast(exported: Exported, file: Path, *more: object) -> int:
    return run(["forecast", str(exported.folder), "--readings", str(file), *map(str, more)])


TIMED = ("--time-column", "time")


def test_all_kinds_of_files_give_the_same(
    exported: Exported, csv: Path, frame: pd.DataFrame, values: np.ndarray, capsys: Output
) -> None:
    frame.to_parquet(csv.with_suffix(".parquet"))
    np.savez(csv.with_suffix(".npz"), data=values)
    answers = []
    for ending, more in ((".csv", TIMED), (".parquet", TIMED), (".npz", ())):
        assert forecast(exported, csv.with_suffix(ending), *more, "--format", "json") == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1]
    assert answers[0]["forecast"] == answers[2]["forecast"]
    assert answers[0] == {
        "at": "2012-05-01T12:00:00",
        "unit": "mph",
        "minutes": [15, 30, 45],
        "times": ["2012-05-01T12:15:00", "2012-05-01T12:30:00", "2012-05-01T12:45:00"],
        "sensors": list(SENSORS),
        "forecast": answers[0]["forecast"],
        "coverage": 0.9,
        "lower": answers[0]["lower"],
        "upper": answers[0]["upper"],
    }
    middle = np.mean([answers[0]["lower"], answers[0]["upper"]], axis=0)
    np.testing.assert_allclose(middle, answers[0]["forecast"], rtol=1e-5)
    widths = open_export(exported.folder).intervals.by_hour[12, range(3)]
    np.testing.assert_allclose(np.subtract(answers[0]["upper"], middle), widths, rtol=1e-4)
    assert np.shape(answers[0]["forecast"]) == (3, 5)
    assert answers[2]["times"] is None


def test_csv_and_parquet_have_the_form_of_readings(
    exported: Exported, csv: Path, tmp_path: Path, capsys: Output
) -> None:
    assert forecast(exported, csv, *TIMED, "--format", "csv") == 0
    shown = pd.read_csv(io.StringIO(capsys.readouterr().out), parse_dates=["time"])
    assert list(shown.columns) == ["time", *SENSORS]
    assert str(shown["time"][0]) == "2012-05-01 12:15:00"
    for name in ("out.csv", "out.parquet", "out.json"):
        assert forecast(exported, csv, *TIMED, "--out", tmp_path / name) == 0
    assert capsys.readouterr().out == ""
    written = pd.read_parquet(tmp_path / "out.parquet")
    assert np.allclose(written[list(SENSORS)], shown[list(SENSORS)])
    assert written["time"].tolist() == shown["time"].tolist()
    assert json.loads((tmp_path / "out.json").read_text())["sensors"] == list(SENSORS)


def test_the_table_has_a_row_per_sensor(exported: Exported, csv: Path, capsys: Output) -> None:
    assert forecast(exported, csv, *TIMED, "--at", "2012-05-01 11:45") == 0
    title, heads, *rows = capsys.readouterr().out.splitlines()
    assert title.strip() == "mph after 2012-05-01 11:45:00"
    assert heads.split() == ["sensor", "12:00", "12:15", "12:30"]
    assert [row.split()[0] for row in rows] == list(SENSORS)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--format", "parquet"], "--format parquet needs --out"),
        (["--out", "forecast.txt"], "--out must end in .csv, .json or .parquet"),
        (["--at", "2012-05-01 11:50"], "the nearest: 2012-05-01 11:45:00 and 2012-05-01 12:00:00"),
        (["--channel", "speed"], "--channel does not fit .csv files"),
    ],
)
def test_a_mistake_gives_one_line(
    exported: Exported, csv: Path, capsys: Output, more: list[str], message: str
) -> None:
    assert forecast(exported, csv, *TIMED, *more) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1


def test_verify_takes_the_recorded_windows_where_they_are(
    exported: Exported, tmp_path: Path, capsys: Output
) -> None:
    make_dataset(tmp_path / "data" / "small")
    dataset = open_dataset(tmp_path / "data" / "small")
    assert data_fingerprint(dataset, "causal") == exported.data.fingerprint
    given = ["export", "--verify", str(exported.folder), "--format", "json", "--data"]
    assert run([*given, str(tmp_path / "data")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["windows"], answer["sensors"], answer["opset"]) == ("validation", 5, 20)
    assert answer["parity"]["live.onnx"]["windows"] == WINDOWS_PER_DAY


def test_verify_makes_up_windows_where_only_another_dataset_has_that_name(
    exported: Exported, tmp_path: Path, capsys: Output
) -> None:
    make_dataset(tmp_path / "small", seed=1)
    assert run(["export", "--verify", str(exported.folder), "--data", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for text in ("synthetic windows", "live.onnx", "model.pt2", "whole; schema, checksums, 5 sen"):
        assert text in said


def test_verify_refuses_in_one_line(tmp_path: Path, exported: Exported, capsys: Output) -> None:
    assert run(["export", "--verify", str(tmp_path)]) == 2
    assert "must be an export folder with a manifest.json" in capsys.readouterr().err
    assert run(["export", "first", "--verify", str(exported.folder)]) == 2
    assert "--verify checks one folder; leave out the sweep" in capsys.readouterr().err
