from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.datasets.dataset import open_dataset
from core.datasets.importing import import_dataset, suggested_split
from core.errors import (
    ConfigError,
    DatasetError,
    ShapeError,
    StorageError,
    UnknownNameError,
    UserError,
)
from core.graph import gaussian_adjacency
from tests.core.user_files import DISTANCES, Files

STEPS = 24
"""A day of hourly readings."""


@pytest.fixture
def readings() -> np.ndarray:
    """Four days of three sensors, one decimal, two gaps."""
    values = np.random.default_rng(0).uniform(20, 70, (4 * STEPS, 3)).round(1)
    values[5, 0] = values[50, 2] = np.nan
    return values


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(tmp_path)


def test_what_goes_in_comes_out(files, readings):
    dataset = files.load(readings, unit="km/h")
    np.testing.assert_array_equal(dataset.readings, readings.astype(np.float32))
    expected = gaussian_adjacency(DISTANCES / 1000)
    np.testing.assert_allclose(dataset.adjacency, expected, rtol=1e-6)
    card = dataset.card
    assert (card.name, card.unit, card.interval_minutes, card.split) == (
        "mine",
        "km/h",
        60,
        (2, 1, 1),
    )
    assert card.sensor_ids == ("0", "1", "2")
    assert card.missing_share == pytest.approx(2 / readings.size)
    assert card.edges == 4
    assert set(card.sources) == {"r.csv", "d.csv"}
    assert [path.name for path in files.data.iterdir()] == ["mine"]


def test_parquet_and_npz_give_the_same_as_csv(files, readings):
    frame = pd.DataFrame(readings, columns=["S1", "S2", "S3"])
    frame.to_parquet(files.folder / "r.parquet")
    np.savez(files.folder / "r.npz", data=readings[:, :, None])
    np.savez(files.folder / "two.npz", speed=readings, other=readings + 1)
    results = [
        files.load(files.csv("named.csv", frame, header=True), name="csv"),
        files.load(files.folder / "r.parquet", name="parquet"),
        files.load(files.folder / "r.npz", name="npz"),
        files.load(files.folder / "two.npz", name="two", array="speed"),
    ]
    for result in results:
        np.testing.assert_array_equal(result.readings, readings.astype(np.float32))
    assert [result.card.sensor_ids[0] for result in results] == ["S1", "S1", "0", "0"]


@pytest.mark.parametrize(("channel", "index"), [("flow", 0), ("speed", 2), ("1", 1)])
def test_a_channel_goes_by_name_or_position(files, readings, channel, index):
    cube = np.stack([readings, readings + 100, readings + 200], axis=2)
    np.savez(files.folder / "cube.npz", data=cube)
    dataset = files.load(files.folder / "cube.npz", channel=channel)
    np.testing.assert_array_equal(dataset.readings, cube[:, :, index].astype(np.float32))


def test_missing_value_marks_gaps(files, readings):
    readings[7, 1] = readings[8, 1] = 0.0
    dataset = files.load(readings, missing_value=0.0)
    assert np.isnan(dataset.readings[[7, 8], 1]).all()
    assert np.isnan(dataset.readings).sum() == 4


def test_time_column_is_checked_and_left_out(files, readings):
    days = pd.to_datetime(["2024-03-07", "2024-03-08", "2024-03-11", "2024-03-12"])
    times = [day + pd.Timedelta(hours=hour) for day in days for hour in range(STEPS)]
    frame = pd.DataFrame(readings, columns=["a", "b", "c"])
    frame.insert(1, "when", times)
    path = files.csv("t.csv", frame, header=True)
    dataset = files.load(path, time_column="when")
    assert dataset.card.sensor_ids == ("a", "b", "c")
    np.testing.assert_array_equal(dataset.readings, readings.astype(np.float32))
    frame.set_index("when").to_parquet(files.folder / "t.parquet")
    again = files.load(files.folder / "t.parquet", time_column="when", name="indexed")
    np.testing.assert_array_equal(again.readings, readings.astype(np.float32))


def test_uneven_times_are_refused(files, readings):
    times = list(pd.date_range("2024-03-04", periods=4 * STEPS, freq="h"))
    frame = pd.DataFrame(readings, columns=["a", "b", "c"])
    frame.insert(0, "when", times)
    gap = frame.assign(
        when=[time + pd.Timedelta(days=int(i >= 48)) for i, time in enumerate(times)]
    )
    path = files.csv("gap.csv", gap, header=True)
    message = r"60 minutes apart .* 2024-03-05 23:00:00 is followed by 2024-03-07 00:00:00"
    files.refused(DatasetError, message, path, time_column="when", day_kind="consecutive")
    late = files.csv(
        "late.csv", frame.assign(when=[t + pd.Timedelta(hours=6) for t in times]), header=True
    )
    files.refused(DatasetError, "start at midnight", late, time_column="when")
    # Friday from 6:00 to Saturday 5:00, then whole days from Monday on.
    days = pd.to_datetime(["2024-03-08T06", "2024-03-11T00", "2024-03-12T00", "2024-03-13T00"])
    friday = frame.assign(
        when=[day + pd.Timedelta(hours=hour) for day in days for hour in range(STEPS)]
    )
    path = files.csv("friday.csv", friday, header=True)
    files.refused(DatasetError, "start at midnight", path, time_column="when")
    files.refused(
        UnknownNameError, "unknown time column 'wen'; did you mean 'when'", late, time_column="wen"
    )
    files.refused(DatasetError, "must hold timestamps .* row 2, column 2", late, time_column="a")
    files.refused(DatasetError, "--time-column names a column of timestamps", late)


def _with(readings, row, column, value):
    cells = readings.astype(object)
    cells[row, column] = value
    return cells


def test_a_cell_that_is_no_number_is_named(files, readings):
    path = files.csv("bad.csv", _with(readings, 30, 1, "n.v."))
    files.refused(DatasetError, r"bad.csv row 31, column 2 holds 'n.v.'", path)
    first = files.csv("first.csv", _with(readings, 0, 2, "oops"))
    files.refused(DatasetError, r"first.csv row 1, column 3 holds 'oops'", first)
    frame = pd.DataFrame(_with(readings, 30, 1, "x"), columns=["a", "b", "c"])
    named = files.csv("named.csv", frame, header=True)
    files.refused(DatasetError, r"named.csv row 32, column 2 \('b'\) holds 'x'", named)


def test_values_and_days_that_break_a_rule(files, readings):
    infinite = readings.copy()
    infinite[40, 1] = np.inf
    files.refused(DatasetError, "infinite value at time step 40, sensor 1", infinite)
    silent = readings.copy()
    silent[:, 2] = np.nan
    files.refused(DatasetError, "at least one reading, but column 3 has none", silent)
    dark = readings.copy()
    dark[STEPS : 2 * STEPS] = np.nan
    files.refused(DatasetError, r"every day needs .* day 1 \(from 0\) has none", dark)
    files.refused(DatasetError, "95 rows = 3 days and 23 rows", readings[:-1])
    files.refused(ShapeError, r"join the 2 sensors .* shape \[3, 3\]", readings[:, :2])


@pytest.mark.parametrize("split", [(3, 1, 1), (1, 1, 1)])
def test_a_split_that_does_not_fit_names_one_that_does(files, readings, split):
    files.refused(
        DatasetError, r"holds 4 days of 24 rows; use --split 2/1/1", readings, split=split
    )


def test_too_few_days_for_any_split(files, readings):
    files.refused(DatasetError, "at least 3 days are needed", readings[: 2 * STEPS])


@pytest.mark.parametrize("days", range(3, 100))
def test_suggested_splits_use_all_days(days):
    split = suggested_split(days)
    assert sum(split) == days
    assert min(split) >= 1


def test_the_suggested_split_of_30_days():
    assert suggested_split(30) == (22, 4, 4)


def test_files_that_cannot_be_read(files, readings):
    files.refused(
        DatasetError, "no.csv must be a readable file, but: No such", files.folder / "no.csv"
    )
    ragged = files.text("ragged.csv", "1.5,2.5,3.5\n1.5,2.5\n")
    files.refused(DatasetError, "ragged.csv row 2 has 2 cells instead of 3", ragged)
    files.refused(DatasetError, "must be a CSV file", files.text("empty.csv", ""))
    binary = files.folder / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x80" * 9)
    files.refused(DatasetError, "must be a CSV file", binary)
    for kind, text in ((".parquet", "a Parquet file"), (".npz", "an NPZ archive")):
        files.refused(DatasetError, f"must be {text}", files.text(f"fake{kind}", "1,2"))
    np.savez(files.folder / "objects.npz", data=np.array([None, {}], dtype=object))
    files.refused(DatasetError, "plain arrays", files.folder / "objects.npz")
    twice = files.text("twice.csv", "a,b,a\n" + "1.5,2.5,3.5\n" * 96)
    files.refused(DatasetError, "has 'a' twice", twice)


def test_arrays_and_channels_that_are_not_there(files, readings):
    cube = files.folder / "cube.npz"
    np.savez(cube, data=np.stack([readings] * 3, axis=2))
    files.refused(ConfigError, r"3 channels \(flow, occupancy, speed\); choose one", cube)
    files.refused(UnknownNameError, "'sped'; did you mean 'speed'", cube, channel="sped")
    files.refused(UnknownNameError, "unknown channel .* '3'", cube, channel="3")
    files.refused(UnknownNameError, "'dada'; did you mean 'data'", cube, array="dada", channel="0")
    two = files.folder / "two.npz"
    np.savez(two, speed=readings, flow=readings)
    files.refused(UnknownNameError, r"'data' \(known: flow, speed\)", two)
    files.refused(ConfigError, "needs an array", two, array="flow", channel="0")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": "a/b"}, "dataset name must start"),
        ({"name": "synthetic"}, "taken by the built-in dataset"),
        ({"interval_minutes": 7}, "must divide a day of 1440 minutes, got 7"),
        ({"interval_minutes": 0}, "must divide a day of 1440 minutes, got 0"),
        ({"split": (2, 2, 0)}, "three parts of at least one day each, got 2/2/0"),
        ({"day_kind": "workdays"}, "weekdays or consecutive, got 'workdays'"),
        ({"channel": "1"}, "--channel does not fit .csv files"),
        ({"header": "maybe"}, "auto, yes or no, got 'maybe'"),
        ({"distance_unit": "feet"}, "metres, kilometres or miles, got 'feet'"),
        ({"zero_distance": "far"}, "colocated or unconnected, got 'far'"),
        ({"sigma_squared": -1.0}, "sigma-squared must be positive"),
        ({"epsilon": 1.5}, "epsilon between 0 and 1"),
        ({"edges": Path("e.csv"), "adjacency": Path("a.csv")}, "exactly one of .* got 2"),
        ({"distances": None}, "exactly one of .* got 0"),
    ],
)
def test_settings_are_checked_before_any_file(files, changes, match):
    with pytest.raises(UserError, match=match):
        files.request(files.folder / "absent.csv", **changes)


def test_the_same_import_again_returns_what_is_there(files, readings):
    first = files.load(readings)
    card = files.data / "mine" / "card.json"
    written = card.stat().st_mtime_ns
    assert files.load(readings).fingerprint == first.fingerprint
    assert card.stat().st_mtime_ns == written
    other = files.csv("other.csv", readings + 1)
    for changes, what in (
        ({"readings": other}, "sources"),
        ({"missing_value": 0.0}, "settings"),
        ({"split": (1, 2, 1)}, "split"),
        ({"epsilon": 0.6}, "graph"),
    ):
        with pytest.raises(
            DatasetError, match=f"with other {what}; choose another name, or delete"
        ):
            import_dataset(files.data, replace(files.request(readings), **changes))
    np.testing.assert_array_equal(open_dataset(files.data / "mine").readings, first.readings)


def test_a_damaged_card_says_what_to_do(files, readings):
    files.load(readings)
    card = files.data / "mine" / "card.json"
    for text in ("{", "[]", json.dumps({"version": 99})):
        card.write_text(text)
        with pytest.raises(DatasetError, match="delete the folder and import it again"):
            files.load(readings)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(files, readings):
    files.data.mkdir(mode=0o500)
    files.refused(StorageError, "must be writable", readings)


def test_a_data_folder_that_is_a_file(files, readings):
    files.data.write_text("")
    with pytest.raises(StorageError, match="must be writable"):
        files.load(readings)
