"""Frames that pandas wrote to HDF5, read without pandas's own reader."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from core.datasets.formats.pandas_hdf5 import read_frame
from core.datasets.readings_files import ReadingsSource, read_readings
from core.errors import ConfigError, DatasetError
from tests.core.hdf5_frames import five_minutes, write_frame

VALUES = np.random.default_rng(0).uniform(20, 70, (6, 3))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "speeds.h5"


@pytest.mark.parametrize(
    ("columns", "kind", "factor"),
    [
        (["773869", "767541", "767542"], "datetime64", 1),
        ([773869, 767541, 767542], "datetime64[ns]", 1),
        (["773869", "767541", "767542"], "datetime64[us]", 1000),
    ],
)
def test_values_sensors_and_times(path: Path, columns: list, kind: str, factor: int) -> None:
    write_frame(path, VALUES, columns, five_minutes(6) // factor, kind=kind)
    table = read_readings(ReadingsSource(readings=path))
    np.testing.assert_array_equal(table.values, VALUES.astype(np.float32))
    assert table.sensor_ids == ("773869", "767541", "767542")
    assert table.times is not None
    assert table.times.iloc[1] == pd.Timestamp("2012-03-01 00:05")


def test_times_with_a_zone_are_local(path: Path) -> None:
    write_frame(path, VALUES, ["a", "b", "c"], five_minutes(6))
    with h5py.File(path, "a") as file:
        file["df"]["axis1"].attrs["tz"] = "US/Pacific"
    table = read_readings(ReadingsSource(readings=path))
    assert table.times is not None
    assert table.times.iloc[1] == pd.Timestamp("2012-02-29 16:05")
    with h5py.File(path, "a") as file:
        file["df"]["axis1"].attrs["tz"] = "Mars/Olympus"
    with pytest.raises(DatasetError, match="with a known time zone"):
        read_frame(path)


def test_columns_of_several_types_come_in_order(path: Path) -> None:
    write_frame(path, VALUES[:, ::2], ["a", "c"], five_minutes(6))
    with h5py.File(path, "a") as file:
        group = file["df"]
        del group["axis0"]
        group["axis0"] = np.array([b"a", b"b", b"c"])
        group["block1_items"] = np.array([b"b"])
        group["block1_values"] = np.arange(6)[:, None]
        group.attrs["nblocks"] = 2
    frame = read_frame(path)
    assert frame.columns == ("a", "b", "c")
    np.testing.assert_array_equal(frame.values[:, 1], np.arange(6))
    np.testing.assert_array_equal(frame.values[:, ::2], VALUES[:, ::2])


def test_rows_without_times(path: Path) -> None:
    write_frame(path, VALUES, ["a", "b", "c"], np.arange(6), kind="integer")
    assert read_frame(path).times is None
    with pytest.raises(ConfigError, match=r"--fill-times needs timestamps, but .* has none"):
        read_readings(ReadingsSource(readings=path, fill_times=True))


def test_rows_that_times_skip_become_gaps(path: Path) -> None:
    kept = np.array([0, 1, 4, 5, 6, 7])
    write_frame(path, VALUES, ["a", "b", "c"], five_minutes(8)[kept])
    table = read_readings(ReadingsSource(readings=path, fill_times=True))
    np.testing.assert_array_equal(table.values[kept], VALUES.astype(np.float32))
    assert np.isnan(table.values[2:4]).all()
    assert table.times is not None
    assert (np.diff(table.times) == np.timedelta64(5, "m")).all()


@pytest.mark.parametrize("shift", [-10, 3, 600])
def test_times_that_go_astray_are_refused(path: Path, shift: int) -> None:
    stamps = five_minutes(6)
    stamps[3:] += shift * 60_000_000_000
    write_frame(path, VALUES, ["a", "b", "c"], stamps)
    message = "steps of 5 minutes with few left out, but .* has 2012-03-01 00:10:00 and then"
    if shift < 0:
        message = "once, but .* has 2012-03-01 00:05:00 in row 2 and in row 4; leave one"
    with pytest.raises(DatasetError, match=message):
        read_readings(ReadingsSource(readings=path, fill_times=True))


@pytest.mark.parametrize("part", ["axis0", "block0_values", "axis1"])
def test_objects_are_refused_unread(path: Path, part: str) -> None:
    write_frame(path, VALUES, ["a", "b", "c"], five_minutes(6))
    with h5py.File(path, "a") as file:
        kind = file["df"][part].attrs.get("kind")
        del file["df"][part]
        pickled = file["df"].create_dataset(part, (1,), dtype=h5py.vlen_dtype(np.uint8))
        pickled[0] = np.frombuffer(b"cos\nsystem\n(S'false'\ntR.", dtype=np.uint8)
        if kind is not None:
            pickled.attrs["kind"] = kind
    with pytest.raises(
        DatasetError, match=f"numbers and names only, but /df/{part} is of type obj"
    ):
        read_frame(path)


def test_files_of_another_form(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("df").attrs["pandas_type"] = "frame_table"
        file["speeds"] = VALUES
    message = r"fixed form, but it holds df \(frame_table\), speeds \(no frame\); write it anew"
    with pytest.raises(DatasetError, match=message):
        read_frame(path)
    write_frame(path, VALUES[:, :2], ["a", "b", "c"], five_minutes(6))
    with pytest.raises(DatasetError, match="names 3 sensors and holds 2 columns"):
        read_frame(path)
    with h5py.File(path, "a") as file:
        del file["df"]["block0_values"]
    with pytest.raises(DatasetError, match="must be an HDF5 file of a pandas frame"):
        read_frame(path)
    path.write_text("speed")
    with pytest.raises(DatasetError, match="must be an HDF5 file of a pandas frame"):
        read_frame(path)
    with pytest.raises(DatasetError, match="No such file"):
        read_frame(path.with_name("none.h5"))


def test_without_h5py_one_line_says_what_is_missing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"need the package h5py, .* extra \[h5\]"):
        read_frame(path)


def test_options_that_do_not_fit(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--channel does not fit \.h5 files"):
        ReadingsSource(readings=path, channel="flow")
    with pytest.raises(ConfigError, match="--fill-times needs timestamps; name them"):
        ReadingsSource(readings=path.with_suffix(".csv"), fill_times=True)
