"""Nothing that comes after a window's history changes its forecast, at every entrance."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.datasets.dataset import Dataset
from core.datasets.readings_files import ReadingsTable
from core.distillation.teacher_targets import load_teacher_targets
from core.errors import ConfigError
from core.evaluation.forecasting import evaluate, forecasts_of, repeat_last, repeated_readings
from core.evaluation.metrics import ForecastErrors
from core.experiments import network_shape, new_network
from core.export.evaluate import evaluate_export
from core.export.export_folder import Export, export_student, open_export
from core.export.forecast import forecast_readings
from core.export.live_forecaster import LiveForecaster
from core.forecasters.onnx_runtime import forecast_live, forecast_windows
from core.forms import FORMS
from core.preprocessing.gaps import causal_fill
from core.preprocessing.prepare import PreparedData, prepare
from tests.small_exports import FACTS, Exported
from tests.small_students import ROWS_PER_DAY, make_dataset, make_student

HISTORY, TEST_DAYS = 12, slice(4 * ROWS_PER_DAY, 6 * ROWS_PER_DAY)
MONDAY = datetime(2012, 5, 7)
QUARTER = timedelta(minutes=15)


def gappy(dataset: Dataset, share: float = 0.3) -> Dataset:
    """The same days with many long gaps, at midnights too."""
    generator = np.random.default_rng(3)
    readings = np.array(dataset.readings)
    readings[generator.random(readings.shape) < share] = np.nan
    readings[4 * ROWS_PER_DAY : 4 * ROWS_PER_DAY + 5, :3] = np.nan
    readings[5 * ROWS_PER_DAY - 9 : 5 * ROWS_PER_DAY + 3, 4] = np.nan
    return replace(dataset, readings=readings)


def changed_after(dataset: Dataset, row: int, seed: int) -> Dataset:
    """The same data but for the readings after ``row``: others, more gaps, fewer gaps."""
    generator = np.random.default_rng(seed)
    readings = np.array(dataset.readings)
    readings[row + 1 :] = generator.normal(50, 20, readings[row + 1 :].shape)
    readings[row + 1 :][generator.random(readings[row + 1 :].shape) < 0.2] = np.nan
    return replace(dataset, readings=readings)


@pytest.fixture(scope="module")
def dataset(exported: Exported) -> Dataset:
    return gappy(exported.dataset)


def forecasts(exported: Exported, dataset: Dataset, part: str = "test") -> torch.Tensor:
    """What a sweep judges: of all windows of a part, one stretch after the other."""
    data = prepare(dataset)
    runs = [
        run
        for stretch in data.stretches(part)
        for _, run in forecasts_of(exported.model, data, stretch)
    ]
    return torch.cat(runs)


@settings(max_examples=8)
@given(window=st.integers(0, ROWS_PER_DAY - HISTORY - 3), seed=st.integers(0, 99))
@pytest.mark.parametrize("part", ["validation", "test"])
def test_in_evaluation_and_of_the_baseline(
    exported: Exported, dataset: Dataset, part: str, window: int, seed: int
) -> None:
    first = {"validation": 3, "test": 4}[part] * ROWS_PER_DAY + window
    other = changed_after(dataset, first + HISTORY - 1, seed)
    before, after = forecasts(exported, dataset, part), forecasts(exported, other, part)
    torch.testing.assert_close(before[window], after[window])
    plain = [
        repeated_readings(one, one.stretches(part)[0]) for one in map(prepare, (dataset, other))
    ]
    assert torch.equal(plain[0][window], plain[1][window])


def test_interpolation_does_look_ahead(exported: Exported, dataset: Dataset) -> None:
    """So that the tests above can fail."""
    row = 4 * ROWS_PER_DAY + HISTORY - 1
    readings = np.array(dataset.readings)
    readings[row, 0], readings[row + 1, 0] = np.nan, 60.0
    ends = []
    for value in (60.0, 20.0):
        readings[row + 1, 0] = value
        data = prepare(replace(dataset, readings=readings.copy()), gaps="interpolate")
        ends.append(data.readings[row])
    assert not torch.equal(*ends)


def test_in_what_a_teacher_teaches(exported: Exported, dataset: Dataset, tmp_path) -> None:
    """Readings after a training window: within training days the scaler and usual are kept."""
    data = prepare(dataset)
    row = ROWS_PER_DAY + 40
    fill = causal_fill(data.card.day_kind, data.usual)
    other = changed_after(dataset, row, 1).readings[ROWS_PER_DAY : 2 * ROWS_PER_DAY]
    changed = data.readings.clone()
    changed[ROWS_PER_DAY : 2 * ROWS_PER_DAY] = torch.from_numpy(data.scaler.scale(fill(other)))
    tables = []
    for name, one in (("a", data), ("b", replace(data, readings=changed, fingerprint="b"))):
        teacher = make_student(data, form="direct")
        targets = load_teacher_targets(tmp_path / name, teacher, one, {"prediction"})
        window = torch.tensor([row - HISTORY + 1, row - HISTORY + 3])
        tables.append(targets.of(window, {"prediction"}, steps_ahead=3).prediction)
    torch.testing.assert_close(tables[0][0], tables[1][0], atol=1e-3, rtol=0)
    assert (tables[0][1] - tables[1][1]).abs().max() > 1e-2


@settings(max_examples=8)
@given(row=st.integers(HISTORY - 1, 2 * ROWS_PER_DAY - 1), seed=st.integers(0, 99))
def test_of_a_file(exported: Exported, dataset: Dataset, row: int, seed: int) -> None:
    if row % ROWS_PER_DAY < HISTORY - 1:
        row += HISTORY
    tables = [
        ReadingsTable(np.array(one.readings[TEST_DAYS]), None, None)
        for one in (dataset, changed_after(dataset, 4 * ROWS_PER_DAY + row, seed))
    ]
    before, after = (
        forecast_readings(exported.folder, one, str(row), max_gap=2000).values for one in tables
    )
    np.testing.assert_array_equal(before, after)


@pytest.fixture(scope="module")
def same_training(exported: Exported) -> tuple[Dataset, PreparedData]:
    """Gappy test days behind the export's own training days, prepared as its own were."""
    readings = np.array(exported.dataset.readings)
    readings[TEST_DAYS] = gappy(exported.dataset).readings[TEST_DAYS]
    dataset = replace(exported.dataset, readings=readings)
    return dataset, prepare(dataset)


def streamed_days(export: Export, days: np.ndarray) -> list[np.ndarray]:
    """What a live forecaster says on each test day, after its windows that have a truth."""
    live, streamed = LiveForecaster(export, max_gap_minutes=None), []
    for day, rows in enumerate(np.split(np.array(days), 2)):
        live.reset()
        times = [MONDAY + timedelta(days=day) + index * QUARTER for index in range(len(rows))]
        pushed = [live.push(row, time) for row, time in zip(rows, times, strict=True)]
        streamed.append(np.stack(pushed[HISTORY - 1 : -3]))
    return streamed


def windows_of(days: np.ndarray) -> np.ndarray:
    """The windows of both test days that have a truth, day after day."""
    cut = np.lib.stride_tricks.sliding_window_view
    parts = [cut(day, HISTORY, axis=0).transpose(0, 2, 1)[:-3] for day in np.split(days, 2)]
    return np.ascontiguousarray(np.concatenate(parts))


def test_all_entrances_agree_on_gappy_days(
    exported: Exported, same_training: tuple[Dataset, PreparedData]
) -> None:
    dataset, data = same_training
    errors, days = evaluate(exported.model, data, "test"), dataset.readings[TEST_DAYS]
    export = open_export(exported.folder)
    told = evaluate_export(export, np.array(dataset.readings), (4, 5))
    assert told["mae"]["30"] == pytest.approx(errors["mae_30"], abs=1e-3)
    filled = export.fill(np.array(days))
    windows = windows_of(filled)
    truths = np.concatenate(
        [
            np.lib.stride_tricks.sliding_window_view(day[HISTORY:], 3, axis=0).transpose(0, 2, 1)
            for day in np.split(np.array(days), 2)
        ]
    )
    streamed = streamed_days(export, days)
    state = [
        forecast_live((exported.folder / "live.onnx").read_bytes(), day)[HISTORY - 1 : -3]
        for day in np.split(filled, 2)
    ]
    onnx = (exported.folder / "model.onnx").read_bytes()
    for found in (
        forecast_windows(onnx, windows),
        np.concatenate(streamed),
        np.concatenate(state),
    ):
        judged = ForecastErrors((15, 30, 45), (1, 2, 3))
        judged.add(torch.from_numpy(found), torch.from_numpy(truths))
        for name in ("mae_15", "mae_30", "mae_45", "rmse_45"):
            assert judged.summary()[name] == pytest.approx(errors[name], abs=1e-3)
    for row in (20, ROWS_PER_DAY + 11, 2 * ROWS_PER_DAY - 20):
        window = row // ROWS_PER_DAY * (len(windows) // 2) + row % ROWS_PER_DAY - HISTORY + 1
        table = ReadingsTable(np.array(days), None, None)
        at = forecast_readings(exported.folder, table, str(row), max_gap=2000).values
        np.testing.assert_allclose(at, np.concatenate(streamed)[window], atol=1e-3)


@pytest.fixture(scope="module")
def masked(
    same_training: tuple[Dataset, PreparedData], tmp_path_factory: pytest.TempPathFactory
) -> Export:
    """An exported student that reads which readings were missing."""
    dataset, data = same_training
    form = replace(FORMS["direct"].network, missing_mask=True)
    shape = network_shape(data, ((1, 2, 4), (4, 2, 8)), form)
    model = new_network(shape, data.graph_kernel, seed=0)
    with torch.no_grad():
        model.output.weight.mul_(100)  # far from repeating the last reading
    folder = tmp_path_factory.mktemp("masked") / "export"
    export_student(folder, model, data, dataset.adjacency, FACTS)
    return open_export(folder)


def test_all_entrances_of_a_student_with_a_mask_agree_on_gappy_days(
    masked: Export, same_training: tuple[Dataset, PreparedData]
) -> None:
    dataset, data = same_training
    errors, days = evaluate(masked.model, data, "test"), dataset.readings[TEST_DAYS]
    told = evaluate_export(masked, np.array(dataset.readings), (4, 5))
    assert told["mae"]["30"] == pytest.approx(errors["mae_30"], abs=1e-3)
    streamed = streamed_days(masked, days)
    wanted = [
        run.numpy()
        for stretch in data.stretches("test")
        for _, run in forecasts_of(masked.model, data, stretch)
    ]
    np.testing.assert_allclose(np.concatenate(streamed), np.concatenate(wanted), atol=1e-3)
    content, compared = (masked.folder / "live.onnx").read_bytes(), 0
    for day, found in zip(np.split(np.array(days), 2), streamed, strict=True):
        state = forecast_live(content, day)[HISTORY - 1 : -3]
        # Its usual reading is a mean over the day, which the first windows of a day may read.
        known = ~np.isnan(state) & (np.arange(len(state)) > 20)[:, None, None]
        np.testing.assert_allclose(state[known], found[known], atol=1e-3)
        compared += int(known.sum())
    assert compared > 100
    content = (masked.folder / "model.onnx").read_bytes()
    blind = forecast_windows(content, windows_of(masked.fill(np.array(days))))
    assert np.abs(blind - np.concatenate(streamed)).max() > 0.1


def test_a_file_with_gaps_is_forecast_with_its_mask(
    masked: Export, same_training: tuple[Dataset, PreparedData]
) -> None:
    days = same_training[1].scaler.unscale(same_training[1].readings[TEST_DAYS]).numpy()
    gaps = np.array([[31, 0], [37, 3], [42, 1], [50, 4]])  # each of one row: 15 minutes
    days[ROWS_PER_DAY + gaps[:, 0], gaps[:, 1]] = np.nan
    streamed, table = streamed_days(masked, days)[1], ReadingsTable(days, None, None)
    for row in (31, 42, 43, 54):  # in the last row, in the first, before the first
        found = forecast_readings(masked.folder, table, str(ROWS_PER_DAY + row)).values
        np.testing.assert_allclose(found, streamed[row - HISTORY + 1], atol=1e-3)
    with pytest.raises(ConfigError, match="--max-gap must be at most 15 minutes for a student"):
        forecast_readings(masked.folder, table, max_gap=30)


def test_repeating_the_last_reading_repeats_what_was_known(
    same_training: tuple[Dataset, PreparedData],
) -> None:
    dataset, data = same_training
    filled = data.scaler.unscale(data.readings)[TEST_DAYS].numpy()
    truth, entries = np.array(dataset.readings[TEST_DAYS]).astype(np.float64), []
    for day in range(2):
        for row in range(HISTORY - 1, ROWS_PER_DAY - 3):
            at = day * ROWS_PER_DAY + row
            entries.append(np.abs(filled[at] - truth[at + 3]))
    assert repeat_last(data, "test")["mae_45"] == pytest.approx(np.nanmean(entries), rel=1e-5)


def test_consecutive_days_begin_once(tmp_path) -> None:
    """A sensor silent over a midnight keeps its reading of the evening before."""
    dataset = gappy(make_dataset(tmp_path / "small", "consecutive"))
    readings = np.array(dataset.readings)
    readings[5 * ROWS_PER_DAY - 2 : 5 * ROWS_PER_DAY + 2, 1] = np.nan
    readings[5 * ROWS_PER_DAY - 3, 1] = 33.0
    data = prepare(replace(dataset, readings=readings))
    kept = data.scaler.unscale(data.readings[5 * ROWS_PER_DAY + 1, 1])
    assert kept == pytest.approx(33.0, rel=1e-4)
