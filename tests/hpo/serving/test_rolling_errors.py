from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from hpo.serving.rolling_errors import RollingErrors

START, STEP = datetime(2012, 5, 1), timedelta(minutes=15)


def test_errors_are_of_the_forecasts_made_for_a_time_and_of_the_newest_rows() -> None:
    generator = np.random.default_rng(0)
    readings = generator.normal(50, 10, (30, 4)).astype(np.float32)
    forecasts = generator.normal(50, 10, (30, 3, 4)).astype(np.float32)
    readings[generator.random(readings.shape) < 0.2] = np.nan
    forecasts[20, :, 1] = np.nan
    filled = np.nan_to_num(readings, nan=48.0)
    left_out, window = 12, 10
    errors = RollingErrors((15, 45), 15, window)
    for at in range(30):
        if at != left_out:
            forecast = None if at < 5 else forecasts[at]
            errors.add(START + at * STEP, readings[at], filled[at], forecast)
    expected = np.full((2, 2, 4, 30), np.nan)
    for at in range(30 - window, 30):
        for place, steps in enumerate((1, 3)):
            made = at - steps
            if made >= 5 and made != left_out:
                unjudged = np.isnan(forecasts[made, steps - 1])
                expected[0, place, :, at] = abs(readings[at] - forecasts[made, steps - 1])
                expected[1, place, :, at] = abs(readings[at] - filled[made])
                expected[1, place, unjudged, at] = np.nan
    overall, by_sensor = errors.overall(), errors.by_sensor()
    np.testing.assert_allclose(overall.student, np.nanmean(expected[0], axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(overall.repeat_last, np.nanmean(expected[1], axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(by_sensor.student, np.nanmean(expected[0], axis=2), rtol=1e-5)
    assert errors.rows == window


def test_without_a_judged_forecast_there_is_no_error() -> None:
    errors = RollingErrors((15,), 15, 10)
    row = np.full(2, 50, np.float32)
    errors.add(START, row, row, row[None])
    assert errors.rows == 0
    assert np.isnan(errors.overall().student).all()
