from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.errors import DatasetError, UnknownNameError
from core.preprocessing.gaps import CausalFill, interpolate_gaps, usual_day
from core.preprocessing.prepare import gap_rule_of, prepare
from tests.oracles import gaps_oracle
from tests.small_students import ROWS_PER_DAY, make_dataset

DAY = 5
VALUE = st.one_of(st.just(np.nan), st.floats(-100, 100, width=32))
READINGS = arrays(np.float32, st.tuples(st.integers(1, 20), st.just(2)), elements=VALUE)
USUAL = np.arange(2 * DAY, dtype=np.float32).reshape(DAY, 2) + 1000


@given(arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(1, 3)), elements=VALUE))
def test_gaps_are_interpolated_like_the_oracle(readings):
    if np.isnan(readings).all(axis=0).any():
        with pytest.raises(DatasetError, match="at least one reading, but column"):
            interpolate_gaps(readings)
        return
    before = readings.copy()
    filled = interpolate_gaps(readings)
    expected = np.array([gaps_oracle.interpolate(list(column)) for column in readings.T]).T
    np.testing.assert_allclose(filled, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(readings, before)


@given(READINGS, st.integers(0, DAY - 1), st.booleans())
def test_causal_fills_like_the_oracle(readings, first_step, restarts_daily):
    before = readings.copy()
    filled = CausalFill(USUAL, restarts_daily)(readings, first_step)
    expected = gaps_oracle.carried(readings, USUAL, first_step, restarts_daily)
    np.testing.assert_array_equal(filled, expected.astype(np.float32))
    np.testing.assert_array_equal(readings, before)


@given(READINGS, st.integers(0, DAY - 1), st.booleans())
def test_row_by_row_is_the_same_as_at_once(readings, first_step, restarts_daily):
    fill, last = CausalFill(USUAL, restarts_daily), np.full(2, np.nan, np.float32)
    rows = []
    for index, reading in enumerate(readings):
        step = (first_step + index) % DAY
        if fill.begins(step):
            last[:] = np.nan
        rows.append(fill.next_row(reading, last, step))
        last = np.where(np.isnan(reading), last, reading)
    np.testing.assert_array_equal(np.array(rows), fill(readings, first_step))


@given(READINGS, st.data())
def test_no_filled_value_depends_on_a_later_reading(readings, data):
    at = data.draw(st.integers(0, len(readings) - 1))
    changed = readings.copy()
    changed[at + 1 :] = data.draw(arrays(np.float32, changed[at + 1 :].shape, elements=VALUE))
    fill = CausalFill(USUAL, restarts_daily=False)
    np.testing.assert_array_equal(fill(readings)[: at + 1], fill(changed)[: at + 1])


@given(arrays(np.float32, st.just((3 * DAY, 3)), elements=VALUE))
def test_a_usual_day_is_the_oracles(training):
    if np.isnan(training).all():
        return
    expected = gaps_oracle.usual_day(training, DAY)
    np.testing.assert_allclose(usual_day(training, DAY), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("day_kind", ["weekdays", "consecutive"])
def test_what_is_prepared_is_filled_stretch_by_stretch(tmp_path: Path, day_kind: str) -> None:
    dataset = make_dataset(tmp_path / "small", day_kind)
    data, measured = prepare(dataset), np.array(dataset.readings)
    training = measured[: 3 * ROWS_PER_DAY]
    usual = gaps_oracle.usual_day(training, ROWS_PER_DAY)
    pieces = [
        gaps_oracle.carried(measured[one.start : one.stop], usual)
        if day_kind == "weekdays"
        else gaps_oracle.carried(measured[one.start : one.stop], usual, restarts_daily=False)
        for part in ("train", "validation", "test")
        for one in data.stretches(part)
    ]
    unscaled = data.scaler.unscale(data.readings)
    np.testing.assert_allclose(unscaled, np.concatenate(pieces), rtol=1e-4)
    assert data.scaler.mean == pytest.approx(np.nanmean(training.astype(np.float64)))
    assert data.scaler.std == pytest.approx(np.nanstd(training.astype(np.float64)))
    # What was not measured is no target.
    np.testing.assert_array_equal(data.targets.isnan(), np.isnan(measured))
    known = ~data.targets.isnan()
    assert torch.equal(data.targets[known], data.readings[known])
    assert not data.looks_ahead


def test_interpolated_data_are_as_they_were_and_say_that_they_look_ahead(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "small")
    data = prepare(dataset, gaps="interpolate")
    filled = interpolate_gaps(np.array(dataset.readings))
    np.testing.assert_array_equal(data.readings, data.scaler.scale(filled))
    assert data.targets is data.readings
    assert data.looks_ahead
    assert data.fingerprint == dataset.fingerprint
    causal = prepare(dataset)
    assert causal.fingerprint != dataset.fingerprint
    assert gap_rule_of(dataset, causal.fingerprint) == "causal"
    assert gap_rule_of(dataset, data.fingerprint) == "interpolate"
    assert gap_rule_of(dataset, "another") is None
    with pytest.raises(UnknownNameError, match="unknown rule for gaps 'casual'; did you mean 'cau"):
        prepare(dataset, gaps="casual")


def test_without_gaps_all_rules_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "nan", 50.0)
    dataset = make_dataset(tmp_path / "small")
    data, other = prepare(dataset), prepare(dataset, gaps="interpolate")
    assert data.fingerprint == other.fingerprint == dataset.fingerprint
    assert torch.equal(data.readings, other.readings)
    assert data.targets is data.readings
    assert data.to(torch.device("cpu")).targets is data.to(torch.device("cpu")).readings
    assert not other.looks_ahead
