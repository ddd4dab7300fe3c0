from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from core.datasets.importing import ImportRequest, import_dataset
from core.errors import ExportError
from core.export.export_folder import Export, filling_of, open_export
from core.export.live_forecaster import LiveForecaster
from core.forecasters.gap_filling import GapFilling
from core.forecasters.modules import Forecaster, LiveStep, new_state, state_rows
from core.forecasters.onnx_export import to_onnx
from core.forecasters.onnx_runtime import forecast_live
from core.forecasters.parity import TOLERANCE, measure_parity, validation_stretches
from core.preprocessing.gaps import causal_fill
from core.preprocessing.prepare import PreparedData, prepare
from core.preprocessing.scaling import Scaler
from core.stgcn import STGCN, STGCNConfig
from tests.core.small_networks import edgeless
from tests.small_exports import Exported
from tests.small_students import ROWS_PER_DAY, make_student

EIGHT = datetime(2012, 5, 1, 8)
QUARTER = timedelta(minutes=15)
FILLING = GapFilling(usual=torch.full((2,), 50.0), limit_steps=1)


@pytest.fixture(scope="module")
def opened(exported: Exported) -> Export:
    return open_export(exported.folder)


@pytest.fixture(scope="module")
def day(exported: Exported) -> np.ndarray:
    """The readings of one day, without gaps [96, 5]."""
    data = exported.data
    return data.scaler.unscale(data.readings[:ROWS_PER_DAY]).numpy()


@pytest.fixture
def live(opened: Export) -> LiveForecaster:
    return LiveForecaster(opened)


def by_window(model: STGCN, scaler: Scaler, steps: int, readings: np.ndarray) -> np.ndarray:
    """The batch forecaster after every window."""
    windows = np.lib.stride_tricks.sliding_window_view(readings, 12, axis=0).transpose(0, 2, 1)
    with torch.inference_mode():
        filling = GapFilling(torch.full((readings.shape[1],), 50.0), limit_steps=1)
        forecasts = Forecaster(model, scaler, steps, filling)(torch.from_numpy(windows.copy()))
    return forecasts.numpy()


def pushed(live: LiveForecaster, readings: np.ndarray) -> list[np.ndarray | None]:
    return [live.push(row) for row in readings]


def test_a_whole_day_row_by_row_equals_its_windows(
    exported: Exported, opened: Export, live: LiveForecaster, day: np.ndarray
) -> None:
    expected = by_window(exported.model, exported.data.scaler, 3, day)
    found = pushed(live, day)
    assert found[:11] == [None] * 11
    np.testing.assert_allclose(np.stack(found[11:]), expected, atol=TOLERANCE)
    streamed = forecast_live((exported.folder / "live.onnx").read_bytes(), day)
    assert np.isnan(streamed[:11]).all()
    np.testing.assert_allclose(streamed[11:], expected, atol=TOLERANCE)
    # Not by luck: forecasts change from row to row.
    assert np.abs(np.diff(expected, axis=0)).max() > 0.1


def test_the_manifest_says_what_the_state_holds(exported: Exported, opened: Export) -> None:
    told = opened.manifest["live"]["state"]
    rows = [first for one in told for first in range(one["first"], one["first"] + size(one))]
    last = len(rows)
    assert rows == list(range(last))
    assert opened.manifest["live"]["input"]["state"] == [last + 3, 5]
    data = exported.data
    step = LiveStep(exported.model, data.scaler, filling_of(opened.fill, data.card))
    state, rows = new_state(exported.model), data.scaler.unscale(data.readings[:3])
    rows[2, 4] = torch.nan
    for row in rows:
        _, _, state, unless_ready, filled = step(row, state)
    # The first layer looks back at the readings themselves.
    assert [one["layer"] for one in told][:2] == ["blocks.0.first", "blocks.0.second"]
    torch.testing.assert_close(state[:2, :4], data.readings[1:3, :4])
    # Last readings, their ages, and how many rows can be used.
    torch.testing.assert_close(state[-3, 4], rows[1, 4])
    assert state[-2].tolist() == [1.0] * 4 + [2.0]
    assert state[-1].tolist() == [3.0] * 5
    assert filled.tolist() == [0.0] * 4 + [1.0]
    assert unless_ready.isnan().all()


def size(told: dict[str, int]) -> int:
    return told["steps"] * told["channels"]


@pytest.mark.parametrize("kernel_size", [1, 2])
def test_layers_that_look_at_one_step_have_no_state(kernel_size: int) -> None:
    config = STGCNConfig(2, ((1, 2, 2),), 3, kernel_size, 3)
    model, scaler = STGCN(config, edgeless(2)), Scaler(50.0, 10.0)
    layers = [one.layer for one in state_rows(model)]
    assert layers == (["output.first"] if kernel_size == 1 else [*LAYERS])
    readings = 50 + 10 * torch.randn(6, 2)
    windows = readings.unfold(0, 3, 1).transpose(1, 2)
    expected = Forecaster(model, scaler, 2, FILLING)(windows)
    step, state = LiveStep(model, scaler, FILLING), new_state(model)
    for index, row in enumerate(readings):
        newest, _, state, unless_ready, _ = step(row, state)
        assert unless_ready.isnan().all() == (index < 2)
        if index >= 2:
            torch.testing.assert_close(scaler.unscale(newest[0, 0]), expected[index - 2, 0])


LAYERS = ("blocks.0.first", "blocks.0.second")


def test_a_missing_reading_is_the_one_before(live: LiveForecaster, day: np.ndarray) -> None:
    gappy, carried = day[:14].copy(), day[:14].copy()
    gappy[12, 3] = np.nan
    carried[12, 3] = day[11, 3]
    found = pushed(live, gappy)
    live.reset()
    for one, other in zip(found[11:], pushed(live, carried)[11:], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(day[12, 3], day[11, 3])


def test_too_long_a_gap_costs_one_sensor_its_forecast_until_it_has_passed(
    exported: Exported, live: LiveForecaster, day: np.ndarray
) -> None:
    gappy = day[:40].copy()
    gappy[12, 2] = gappy[14:16, 3] = np.nan  # 15 minutes, the most, and 30
    found = np.stack(pushed(live, gappy)[11:])
    silent = np.isnan(found).any(axis=1)
    assert silent[:, :3].sum() == silent[:, 4].sum() == 0
    # From the second row of the gap on, until it is out of the 12 rows that a forecast reads.
    assert np.flatnonzero(silent[:, 3]).tolist() == [*range(15 - 11, 15 + 12 - 11)]
    streamed = forecast_live((exported.folder / "live.onnx").read_bytes(), gappy)[11:]
    np.testing.assert_allclose(streamed, found, atol=TOLERANCE)


@pytest.mark.parametrize("time", [EIGHT, None])
def test_a_stream_that_begins_with_a_gap_begins_with_the_usual_reading(
    opened: Export, day: np.ndarray, time: datetime | None
) -> None:
    gappy, usual = day[:12].copy(), day[:12].copy()
    gappy[0, 1] = np.nan
    at = opened.fill.usual
    usual[0, 1] = at[8 * 4, 1] if time else at[:, 1].mean()
    ends = []
    for rows in (gappy, usual):
        live = LiveForecaster(opened)
        times = [None if time is None else time + one * QUARTER for one in range(12)]
        ends.append([live.push(row, when) for row, when in zip(rows, times, strict=True)][-1])
    np.testing.assert_allclose(*ends, atol=1e-4)
    assert abs(day[0, 1] - usual[0, 1]) > 0.1


def test_a_stream_may_begin_with_a_long_gap(live: LiveForecaster, day: np.ndarray) -> None:
    gappy = day[:14].copy()
    gappy[:2, 1] = np.nan
    found = pushed(live, gappy)[11:]
    assert [np.isnan(one).any(axis=0).tolist() for one in found[:2]] == [
        [False, True, False, False, False]
    ] * 2
    assert not np.isnan(found[2]).any()


def test_a_gap_in_time_begins_anew(live: LiveForecaster, day: np.ndarray) -> None:
    for index in range(12):
        last = live.push(day[index], EIGHT + index * QUARTER)
    assert last is not None
    assert live.push(day[12], EIGHT + 13 * QUARTER) is None
    assert live.rows_missing == 11


@pytest.mark.parametrize(
    ("row", "time", "message"),
    [
        (lambda day: day[0], EIGHT, r"15 minutes apart, but 2012-05-01 08:00:00 follows .*08:00"),
        (lambda day: day[0, :4], None, r"each of the 5 sensors, got shape \[4\]"),
        (lambda day: np.full(5, np.inf, np.float32), None, "must be finite"),
    ],
)
def test_a_row_that_does_not_fit_is_not_taken_in(
    live: LiveForecaster,
    day: np.ndarray,
    row: Callable[[np.ndarray], np.ndarray],
    time: datetime | None,
    message: str,
) -> None:
    live.push(day[0], EIGHT)
    with pytest.raises(ExportError, match=message):
        live.push(row(day), time)
    assert live.rows_missing == 11


@pytest.fixture(scope="module")
def real(real_data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = real_data_folder / "pemsd7-m"
    request = ImportRequest(
        name="pemsd7",
        readings=folder / "V_228_days00-29.csv",
        distances=folder / "W_228.csv",
        day_kind="weekdays",
        split=(28, 1, 1),
    )
    return prepare(import_dataset(tmp_path_factory.mktemp("real"), request))


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.timeout(600)
def test_a_real_day_in_every_form(real: PreparedData) -> None:
    """228 sensors, nine steps: long sums, where rounding shows."""
    model = make_student(real)
    stretches = validation_stretches(real)
    fill = causal_fill(real.card.day_kind, real.usual)
    widths = np.ones((9, 228), dtype=np.float32)
    files = to_onnx(model, real.scaler, 9, filling_of(fill, real.card), widths)
    for _, one in measure_parity(files, model, real.scaler, 9, stretches):
        assert one.holds
        assert one.mean_difference < 1e-4
        assert one.windows == 288 - 20
    readings = real.scaler.unscale(stretches[0]).numpy()
    export = Export(Path(), {"horizon_steps": 9}, real.card, real.scaler, model, fill, None)
    live = LiveForecaster(export)
    found = pushed(live, readings)[11:]
    expected = by_window(model, real.scaler, 9, readings)
    np.testing.assert_allclose(np.stack(found), expected, atol=TOLERANCE)
