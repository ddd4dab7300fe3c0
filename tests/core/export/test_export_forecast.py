from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from core.datasets.readings_files import ReadingsTable
from core.errors import ConfigError, ExportError
from core.export.export_folder import filling_of
from core.export.forecast import Forecast, forecast_readings
from core.export.manifest import LATER_FILES
from core.forecasters.modules import Forecaster
from core.preprocessing.gaps import causal_fill, longest_gap
from tests.small_exports import Exported
from tests.small_students import ROWS_PER_DAY, SENSORS

NOON = pd.Timestamp("2012-05-01 12:00")


@pytest.fixture
def readings(exported: Exported) -> np.ndarray:
    """40 rows without gaps, from 02:15 in steps of a quarter of an hour to 12:00."""
    data = exported.data
    return data.scaler.unscale(data.readings[100:140]).numpy()


def timed(values: np.ndarray, minutes: int = 15, end: pd.Timestamp = NOON) -> ReadingsTable:
    times = pd.Series(pd.date_range(end=end, periods=len(values), freq=f"{minutes}min"))
    return ReadingsTable(values, SENSORS, times)


def untimed(values: np.ndarray) -> ReadingsTable:
    return ReadingsTable(values, None, None)


def after(exported: Exported, window: np.ndarray) -> np.ndarray:
    data = exported.data
    filling = filling_of(causal_fill(data.card.day_kind, data.usual), data.card)
    forecaster = Forecaster(exported.model, data.scaler, 3, filling)
    with torch.inference_mode():
        return forecaster(torch.from_numpy(window)[None])[0].numpy()


def assert_follows(found: Forecast, exported: Exported, window: np.ndarray) -> None:
    np.testing.assert_allclose(found.values, after(exported, window), atol=1e-3)


def test_what_follows_the_last_row(exported: Exported, readings: np.ndarray) -> None:
    found = forecast_readings(exported.folder, timed(readings))
    assert_follows(found, exported, readings[-12:])
    assert found.minutes == [15, 30, 45]
    assert [str(time) for time in found.times] == [
        "2012-05-01 12:15:00",
        "2012-05-01 12:30:00",
        "2012-05-01 12:45:00",
    ]
    assert (found.sensor_ids, found.unit, found.at) == (SENSORS, "mph", NOON)


@pytest.mark.parametrize(("table", "at"), [(timed, "2012-05-01 11:00"), (untimed, "35")])
def test_what_follows_another_row(
    exported: Exported,
    readings: np.ndarray,
    table: Callable[[np.ndarray], ReadingsTable],
    at: str,
) -> None:
    changed = readings.copy()
    changed[36:] += 30
    found = forecast_readings(exported.folder, table(changed), at)
    assert_follows(found, exported, readings[24:36])


def test_without_times_there_are_minutes(exported: Exported, readings: np.ndarray) -> None:
    found = forecast_readings(exported.folder, untimed(readings))
    assert (found.times, found.minutes, found.at) == (None, [15, 30, 45], 39)


def test_times_may_have_a_zone(exported: Exported, readings: np.ndarray) -> None:
    table = timed(readings)
    zoned = ReadingsTable(readings, SENSORS, table.times.dt.tz_localize("US/Pacific"))
    found = forecast_readings(exported.folder, zoned, "2012-05-01 11:00")
    assert_follows(found, exported, readings[24:36])
    assert str(found.times[0]) == "2012-05-01 11:15:00-07:00"
    with pytest.raises(ConfigError, match="--at must have no time zone, as these readings have no"):
        forecast_readings(exported.folder, table, "2012-05-01 11:00-07:00")


def test_a_short_gap_is_the_last_reading_before_it(
    exported: Exported, readings: np.ndarray
) -> None:
    gappy, filled = readings.copy(), readings.copy()
    gappy[30, 2] = gappy[39, 4] = np.nan
    filled[30, 2] = readings[29, 2]
    filled[39, 4] = readings[38, 4]
    assert_follows(forecast_readings(exported.folder, timed(gappy)), exported, filled[-12:])
    # What comes after the row is not looked at.
    seen = np.concatenate([gappy, readings[:3]])
    assert_follows(forecast_readings(exported.folder, untimed(seen), "39"), exported, filled[-12:])


def test_a_row_that_is_missing_is_a_gap(exported: Exported, readings: np.ndarray) -> None:
    table = timed(readings)
    left = np.delete(np.arange(40), 35)
    short = ReadingsTable(readings[left], SENSORS, table.times[left].reset_index(drop=True))
    filled = readings.copy()
    filled[35] = readings[34]
    assert_follows(forecast_readings(exported.folder, short), exported, filled[-12:])


@pytest.mark.parametrize(
    ("rows", "max_gap", "message"),
    [
        (
            slice(30, 32),
            None,
            r"up to 15 minutes .* 'south' has no reading from 2012-05-01 09:45:00",
        ),
        (slice(30, 32), 29, r"to 2012-05-01 10:00:00; give readings without, or raise --max-gap"),
        (slice(27, 29), None, r"from 2012-05-01 09:00:00 to 2012-05-01 09:15:00"),
        (slice(39, 40), 0, r"up to 0 minutes .* from 2012-05-01 12:00:00 to 2012-05-01 12:00:00"),
        (slice(0, 40), 60, r"'south' has no reading from"),
        (slice(30, 32), 30, None),
        (slice(0, 28), None, None),
    ],
)
def test_how_long_a_gap_may_be(
    exported: Exported,
    readings: np.ndarray,
    rows: slice,
    max_gap: int | None,
    message: str | None,
) -> None:
    readings[rows, 2] = np.nan
    if message is None:
        assert np.isfinite(
            forecast_readings(exported.folder, timed(readings), max_gap=max_gap).values
        ).all()
        return
    with pytest.raises(ExportError, match=message):
        forecast_readings(exported.folder, timed(readings), max_gap=max_gap)


def test_a_gap_without_times_is_told_by_its_rows(exported: Exported, readings: np.ndarray) -> None:
    readings[30:33, 2] = np.nan
    with pytest.raises(ExportError, match=r"'south' has no reading from row 30 to row 32; give"):
        forecast_readings(exported.folder, untimed(readings))


def test_columns_in_another_order_are_matched_by_id(
    exported: Exported, readings: np.ndarray
) -> None:
    swapped = ReadingsTable(readings[:, ::-1], SENSORS[::-1], None)
    assert_follows(forecast_readings(exported.folder, swapped), exported, readings[-12:])


def unsorted(values: np.ndarray) -> ReadingsTable:
    table = timed(values)
    return ReadingsTable(values, SENSORS, table.times[::-1].reset_index(drop=True))


@pytest.mark.parametrize(
    ("table", "at", "error", "message"),
    [
        (lambda one: untimed(one[:, :4]), None, ExportError, r"each of the 5 sensors .*\[40, 4\]"),
        (lambda one: timed(one, 5), None, ExportError, "15 minutes apart.* here they lie 5 apart"),
        (lambda one: timed(one, 30), None, ExportError, "15 minutes apart.*here they lie 30 apart"),
        (
            unsorted,
            None,
            ExportError,
            r"must increase from row to row, but 2012-05-01 11:45:00 com",
        ),
        (
            lambda one: timed(one[:11]),
            None,
            ExportError,
            r"needs 12 rows .* are 11 up to 2012-05-01",
        ),
        (untimed, "9", ExportError, r"needs 12 rows .* there are 10 up to row 9"),
        (
            untimed,
            "40",
            ConfigError,
            r"a row from 0 to 39, as .* have no times, got '40'; --time-c",
        ),
        (untimed, "12:00", ConfigError, r"a row from 0 to 39"),
        (timed, "noon", ConfigError, r"a time such as 2012-05-01 12:00:00, got 'noon'"),
        (
            timed,
            "2012-05-01 11:20",
            ConfigError,
            r"got 2012-05-01 11:20:00; the nearest: 2012-05-01 11:15:00 and 2012-05-01 11:30:00$",
        ),
        (timed, "2012-06-01", ConfigError, r"the nearest: 2012-05-01 12:00:00$"),
        (timed, "2011-06-01", ConfigError, r"the nearest: 2012-05-01 02:15:00$"),
    ],
)
def test_readings_that_do_not_fit_are_refused(
    exported: Exported,
    readings: np.ndarray,
    table: Callable[[np.ndarray], ReadingsTable],
    at: str | None,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message) as found:
        forecast_readings(exported.folder, table(readings), at)
    assert "\n" not in str(found.value)


def test_a_gap_limit_below_zero_is_refused(exported: Exported, readings: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="--max-gap must be at least 0 minutes, got -1"):
        forecast_readings(exported.folder, untimed(readings), max_gap=-1)


def test_no_history_crosses_a_midnight_between_weekdays(exported: Exported) -> None:
    data = exported.data
    days = untimed(data.scaler.unscale(data.readings[: 2 * ROWS_PER_DAY]).numpy())
    with pytest.raises(ExportError, match=r"12 rows of one day.* row 106 is row 10 of its day"):
        forecast_readings(exported.folder, days, "106")
    found = forecast_readings(exported.folder, days, "107")
    assert_follows(found, exported, days.values[96:108])


def test_the_forecaster_is_checked_before_it_is_used(
    exported: Exported, readings: np.ndarray, tmp_path: Path
) -> None:
    """The manifest, model.onnx and what fills gaps are enough."""
    for name in ("manifest.json", "model.onnx", *LATER_FILES):
        (tmp_path / name).write_bytes((exported.folder / name).read_bytes())
    assert_follows(forecast_readings(tmp_path, untimed(readings)), exported, readings[-12:])
    (tmp_path / "model.onnx").write_bytes(b"?")
    with pytest.raises(ExportError, match=r"model.onnx must be the file that was exported"):
        forecast_readings(tmp_path, untimed(readings))


@pytest.mark.parametrize(
    ("missing", "found"),
    [([0, 0], (0, 0)), ([1, 0, 1, 1], (2, 2)), ([1, 1, 0, 1], (0, 2)), ([1], (0, 1)), ([], (0, 0))],
)
def test_longest_gap(missing: list[int], found: tuple[int, int]) -> None:
    assert longest_gap(np.array(missing, dtype=bool)) == found
