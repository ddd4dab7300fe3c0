"""Gaps are filled inside forecasters as outside of them, and ONNX fills as PyTorch does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.evaluation.forecasting import roll_out
from core.forecasters.gap_filling import (
    GapFilling,
    fill_windows,
    filled_in_a_row,
    gap_filling,
    next_age,
)
from core.forecasters.modules import Forecaster
from core.forecasters.onnx_export import to_onnx
from core.forecasters.onnx_runtime import forecast_live, open_session
from core.forecasters.torch_program import load_program, to_program
from core.preprocessing.gaps import CausalFill
from core.preprocessing.scaling import Scaler
from core.stgcn import STGCNConfig
from tests.core.small_networks import TWO_BLOCKS, random_network

SENSORS, USUAL = 3, np.array([40.0, 50.0, 60.0], dtype=np.float32)
FILL = CausalFill(np.tile(USUAL, (288, 1)), restarts_daily=False)
FILLING = gap_filling(FILL, limit_steps=2)
SCALER = Scaler(50.0, 12.0)
WIDTHS = np.arange(9, dtype=np.float32).reshape(3, SENSORS)
FORMS = [
    {},
    {"head": "horizon", "skip": True, "norm": "low_rank", "horizon_steps": 3, "missing_mask": True},
]

gappy_readings = arrays(
    np.float32,
    st.tuples(st.integers(1, 14), st.just(SENSORS)),
    elements=st.one_of(st.just(np.nan), st.floats(0, 100, width=16)),
)


def in_a_row(readings: np.ndarray) -> np.ndarray:
    """How many readings in a row are missing up to each, counted one by one."""
    counts = np.zeros(readings.shape)
    for step, sensor in np.ndindex(*readings.shape):
        before = counts[step - 1, sensor] if step else 0
        counts[step, sensor] = before + 1 if np.isnan(readings[step, sensor]) else 0
    return counts


@given(readings=gappy_readings)
def test_windows_are_filled_as_data_are(readings: np.ndarray) -> None:
    filled, missing, counts = fill_windows(torch.from_numpy(readings)[None], FILLING)
    np.testing.assert_array_equal(filled[0], FILL(readings))
    np.testing.assert_array_equal(missing[0], np.isnan(readings))
    np.testing.assert_array_equal(counts[0], in_a_row(readings))


@given(readings=gappy_readings)
def test_ages_count_what_was_filled(readings: np.ndarray) -> None:
    age = torch.zeros(SENSORS)
    for row, counts in zip(readings, in_a_row(readings), strict=True):
        age = next_age(torch.from_numpy(row), age)
        np.testing.assert_array_equal(filled_in_a_row(age), counts)


def test_usual_is_a_mean_over_the_day() -> None:
    usual = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = gap_filling(CausalFill(usual, restarts_daily=True), 1)
    np.testing.assert_allclose(found.usual, usual.mean(axis=0))


@pytest.fixture(scope="module", params=FORMS, ids=["paper", "direct with mask"])
def form(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


@pytest.fixture(scope="module")
def model(form: dict[str, Any]) -> Any:
    return random_network(STGCNConfig(SENSORS, TWO_BLOCKS, **form)).float()


@pytest.fixture(scope="module")
def gappy() -> np.ndarray:
    """Some gaps of one and two rows, and one of three, which is too long [60, 3]."""
    generator = np.random.default_rng(4)
    readings = generator.normal(50, 10, (60, SENSORS)).astype(np.float32)
    for first, length, sensor in [(0, 2, 1), (5, 1, 0), (14, 2, 2), (30, 3, 0), (58, 2, 2)]:
        readings[first : first + length, sensor] = np.nan
    return readings


@pytest.fixture(scope="module")
def expected(model: Any, gappy: np.ndarray) -> np.ndarray:
    """By the roll-out over what evaluations fill, NaN where a gap is too long [49, 3, 3]."""
    scaled = torch.from_numpy(SCALER.scale(FILL(gappy)))
    missing = torch.from_numpy(np.isnan(gappy)).float()
    forecasts = SCALER.unscale(roll_out(model, scaled, 3, missing)).numpy()
    for window, sensor in np.ndindex(len(forecasts), SENSORS):
        if in_a_row(gappy[: window + 12])[window : window + 12, sensor].max() > 2:
            forecasts[window, :, sensor] = np.nan
    return forecasts


@pytest.fixture(scope="module")
def files(model: Any) -> dict[str, bytes]:
    return to_onnx(model, SCALER, 3, FILLING, WIDTHS)


def test_a_stream_with_gaps_forecasts_as_evaluations_do(
    files: dict[str, bytes], gappy: np.ndarray, expected: np.ndarray
) -> None:
    found = forecast_live(files["live.onnx"], gappy)[11:]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    assert 0 < np.isnan(expected).any(axis=(1, 2)).sum() < len(expected) / 2


def test_windows_with_gaps_forecast_as_evaluations_do(
    model: Any, files: dict[str, bytes], gappy: np.ndarray, expected: np.ndarray
) -> None:
    windows = np.lib.stride_tricks.sliding_window_view(gappy, 12, axis=0).transpose(0, 2, 1).copy()
    session = open_session(files["model.onnx"])
    names = ["forecast", "filled", "lower", "upper"]
    found, filled, lower, upper = session.run(names, {"readings": windows})
    np.testing.assert_allclose(found - lower, np.where(np.isnan(found), np.nan, WIDTHS), atol=1e-4)
    np.testing.assert_allclose(upper - found, np.where(np.isnan(found), np.nan, WIDTHS), atol=1e-4)
    # Where a gap began before the window, its last reading is not in the window.
    whole = [at for at in range(len(windows)) if not at or not np.isnan(windows[at, 0]).any()]
    assert len(whole) > 40
    np.testing.assert_allclose(found[whole], expected[whole], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(filled, [in_a_row(window)[-1] for window in windows])
    with torch.inference_mode():
        plain = Forecaster(model, SCALER, 3, FILLING)(torch.from_numpy(windows)).numpy()
        program = load_program(to_program(model, SCALER, 3, FILLING))(torch.from_numpy(windows))
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(program.numpy(), plain, rtol=1e-4, atol=1e-3)


def test_without_a_limit_to_speak_of_every_sensor_has_a_forecast(model: Any) -> None:
    forecaster = Forecaster(model, SCALER, 3, GapFilling(torch.from_numpy(USUAL), 12))
    with torch.inference_mode():
        assert forecaster(torch.full((1, 12, SENSORS), torch.nan)).isfinite().all()


def test_a_mask_changes_what_is_forecast() -> None:
    model = random_network(STGCNConfig(SENSORS, TWO_BLOCKS, **FORMS[1])).float()
    readings = torch.linspace(-1, 1, 12 * SENSORS).view(12, SENSORS)
    seen, missing = roll_out(model, readings, 3), torch.zeros(12, SENSORS)
    torch.testing.assert_close(roll_out(model, readings, 3, missing), seen)
    missing[-1, 1] = 1
    assert (roll_out(model, readings, 3, missing) - seen).abs().max() > 1e-3
