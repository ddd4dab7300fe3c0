"""Half-widths against a naive restatement, and what intervals cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.evaluation.coverage import coverage_of, fit_intervals, measure_coverage
from core.evaluation.forecasting import forecasts_of
from core.evaluation.intervals import (
    FEWEST_ERRORS,
    HOURS,
    Intervals,
    conformal_quantile,
    hours_ahead,
    intervals_from,
)
from core.preprocessing.prepare import PreparedData, prepare
from core.preprocessing.windows import Stretch
from tests.small_students import ROWS_PER_DAY, make_dataset, make_student

some_errors = arrays(
    np.float32,
    st.tuples(st.integers(1, 30), st.just(2), st.just(3)),
    elements=st.one_of(st.just(np.nan), st.floats(0, 50, width=16)),
)


def plain_quantile(errors: list[float], coverage: float) -> float:
    """The smallest error that enough others, and a new one, are expected not to exceed."""
    known = sorted(one for one in errors if not math.isnan(one))
    rank = math.ceil((len(known) + 1) * coverage)
    return known[rank - 1] if rank <= len(known) else math.nan


@given(errors=some_errors, coverage=st.sampled_from([0.5, 0.8, 0.9]))
def test_half_widths_are_the_conformal_quantiles(errors: np.ndarray, coverage: float) -> None:
    found = conformal_quantile(errors, coverage)
    for step, sensor in np.ndindex(2, 3):
        wanted = plain_quantile(errors[:, step, sensor].tolist(), coverage)
        np.testing.assert_equal(float(found[step, sensor]), wanted)


def test_readings_like_those_fitted_on_are_covered_as_promised() -> None:
    """Over many draws: the share of new errors inside is at least 0.9, and hardly more."""
    generator = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        errors = generator.exponential(1, (25, 1, 40)).astype(np.float32)
        widths = conformal_quantile(errors[:24], 0.9)
        shares.append((errors[24] <= widths).mean())
    assert 0.9 <= np.mean(shares) < 0.94


def test_an_hour_has_its_own_half_width_where_it_has_enough_errors() -> None:
    windows = 2 * FEWEST_ERRORS + 5
    hours = np.full((windows, 1), 8)
    hours[:FEWEST_ERRORS], hours[-5:] = 3, 20
    errors = np.ones((windows, 1, 2), dtype=np.float32)
    errors[:FEWEST_ERRORS], errors[-5:] = 0.25, 9.0
    errors[0, 0, 1] = np.nan  # one error too few
    found = intervals_from(errors, hours, 0.8)
    assert found.overall.tolist() == [[1.0, 1.0]]
    assert found.by_hour[3].tolist() == [[0.25, 1.0]]
    assert found.by_hour[8].tolist() == [[1.0, 1.0]]
    assert (found.by_hour[[0, 20]] == found.overall).all()
    assert found.around(np.array([[3], [20]])).tolist() == [[[0.25, 1.0]], [[1.0, 1.0]]]


def test_hours_are_those_that_are_forecast() -> None:
    assert hours_ahead(94, 3, 3, 15).tolist() == [[23, 23, 0], [23, 0, 0], [0, 0, 0]]
    assert hours_ahead(2 * 288 + 11, 1, 2, 5).tolist() == [[0, 1]]


def test_coverage_counts_what_was_measured() -> None:
    overall = np.array([[1.0, np.nan], [1.0, 2.0], [1.0, 2.0]], dtype=np.float32)
    intervals = Intervals(0.9, overall, np.repeat(overall[None], HOURS, axis=0))
    errors = np.array(
        [[[0.5, 0.0], [1.0, 2.5], [np.nan, np.nan]], [[1.5, 9.0], [np.nan, 1.0], [np.nan, np.nan]]],
        dtype=np.float32,
    )
    found = coverage_of(errors, np.zeros((2, 3), dtype=int), intervals, 15)
    assert found.share[15] == 0.5
    assert found.share[30] == pytest.approx(2 / 3)
    assert math.isnan(found.share[45])
    assert (found.width[15], found.width[30]) == (2.0, pytest.approx(2 * (1 + 2 + 2) / 3))
    assert found.by_hour[15][0] == 0.5
    assert np.isnan(found.by_hour[15][1:]).all()
    assert found.to_json()["share"] == {"15": 0.5, "30": pytest.approx(2 / 3), "45": None}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare(make_dataset(tmp_path_factory.mktemp("data") / "small"))


def test_a_network_is_fitted_on_its_own_errors(data: PreparedData) -> None:
    model = make_student(data, form="direct")
    found = fit_intervals(model, data, "validation")
    errors, hours = [], []
    for stretch in data.stretches("validation"):
        for start, forecast in forecasts_of(model, data, stretch):
            for window, steps in enumerate(forecast):
                first = start + window + 12
                errors.append((steps - data.truth[first : first + 3]).abs())
                hours.append([(first + step) % ROWS_PER_DAY // 4 for step in range(3)])
    wanted = intervals_from(torch.stack(errors).numpy(), np.array(hours))
    np.testing.assert_allclose(found.overall, wanted.overall, rtol=1e-5)
    np.testing.assert_allclose(found.by_hour, wanted.by_hour, rtol=1e-5)
    covered = measure_coverage(model, data, data.stretches("validation"), found)
    assert all(0.88 < share < 0.97 for share in covered.share.values())


def test_the_first_row_may_be_any_of_the_day(data: PreparedData) -> None:
    """Intervals that know the hour are read at another one."""
    model = make_student(data, form="direct")
    by_hour = np.zeros((HOURS, 3, data.card.num_sensors), dtype=np.float32)
    by_hour[5] = np.inf
    intervals = Intervals(0.9, by_hour[0], by_hour)
    first = data.stretches("validation")[0].start
    stretch = Stretch(first, first + 12 + 16 + 2)  # forecasts of 16 rows, from 3:00 to 7:00
    shares = [
        measure_coverage(model, data, [stretch], intervals, step).share[15]
        for step in (0, 4, 9, 48)
    ]
    assert shares == pytest.approx([4 / 16, 4 / 16, 3 / 16, 0], abs=0.01)
