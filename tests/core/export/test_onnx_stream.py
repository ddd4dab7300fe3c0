from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from core.errors import ExportError
from core.export.export_folder import open_export
from core.export.live_forecaster import LiveForecaster
from core.export.onnx_stream import OnnxStream
from tests.small_exports import Exported
from tests.small_students import ROWS_PER_DAY

MIDNIGHT = datetime(2012, 5, 1)
QUARTER = timedelta(minutes=15)


def test_two_days_with_gaps_as_the_live_forecaster(exported: Exported) -> None:
    """Short and long gaps, one from the start, a missing row and a midnight."""
    rows = exported.data.truth[: 2 * ROWS_PER_DAY].numpy().copy()
    rows[:2, 4] = np.nan
    rows[30:34, 1] = np.nan
    rows[95:97, 2] = np.nan
    times = [MIDNIGHT + at * QUARTER for at in range(len(rows))]
    live, stream, compared = LiveForecaster(open_export(exported.folder)), None, 0
    stream = OnnxStream(exported.folder)
    for at, (row, time) in enumerate(zip(rows, times, strict=True)):
        if at == 60:
            continue
        expected, (_, found) = live.push(row, time), stream.push(row, time)
        assert (expected is None) == (found is None) == bool(stream.rows.rows_missing)
        if found is not None:
            np.testing.assert_allclose(found, expected, atol=1e-3)
            compared += np.isfinite(found).all()
    assert compared > 100
    assert stream.rows.rows_missing == 0


def test_a_row_that_does_not_fit_is_not_taken_in(exported: Exported) -> None:
    stream = OnnxStream(exported.folder)
    stream.push(np.full(5, 60, np.float32), MIDNIGHT)
    with pytest.raises(ExportError, match="15 minutes apart"):
        stream.push(np.full(5, 60, np.float32), MIDNIGHT)
    with pytest.raises(ExportError, match=r"each of the 5 sensors, got shape \[4\]"):
        stream.push(np.full(4, 60, np.float32), MIDNIGHT + QUARTER)
    assert stream.rows.rows_missing == 11
