"""Compute the errors of an exported student at 15, 30 and 45 minutes on new readings.

Needs neither the dataset nor the sweep that the student came from. Gaps are filled as input to the
network from earlier readings alone (``core.preprocessing.gaps``) and never scored. Does not read
files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from core.datasets.formats.row_order import check_spacing
from core.errors import ExportError
from core.evaluation.coverage import measure_coverage
from core.evaluation.forecasting import add_repeated, add_stretch, new_errors
from core.evaluation.metric_names import METRICS
from core.evaluation.metrics import ForecastErrors
from core.export.export_folder import Export
from core.export.manifest import plain_numbers
from core.export.sensors import in_trained_order, step_of_day
from core.preprocessing.gaps import CAUSAL
from core.preprocessing.horizons import HORIZON_MINUTES
from core.preprocessing.prepare import PreparedData
from core.preprocessing.windows import Stretch

Days = tuple[int, int]
"""First and last day, both counted from 0 and both included."""


def evaluate_export(
    export: Export,
    readings: NDArray[np.float32],
    days: Days | None = None,
    sensor_ids: Sequence[str] | None = None,
    times: pd.Series[pd.Timestamp] | None = None,
) -> dict[str, Any]:
    """Return the errors of an exported student on readings of its sensors.

    Args:
        export: see ``open_export``.
        readings: [T, N] in the unit it was trained on, NaN where nothing was measured. Where its
            days are weekdays, T must be whole days and no window crosses a midnight.
        days: which to evaluate; None: all.
        sensor_ids: of the columns, if known; another order is put right.
        times: of the rows, local, if known; they must be one interval apart.

    Returns:
        ``{"mae": {"15": …, "30": …, "45": …}, "mape": {…}, "rmse": {…}, "windows": …,
        "repeat_last": {"mae": {…}, …}, "intervals": …}``, MAPE in percent; None where no reading
        was measured. ``repeat_last``: of repeating the last reading after the same windows.
        ``intervals``: ``{"coverage": 0.9, "share": {"15": …, …}, "width": {…}}``, what they promise
        and what they cover here; None of exports without intervals.

    Raises:
        ExportError: the readings do not fit the export.
        DatasetError: rows are missing or at other times.
    """
    readings, first_step = in_trained_order(export.card, readings, sensor_ids), 0
    if times is not None:
        first_step = step_of_day(times.iloc[0], export.card.interval_minutes)
        weekdays = export.card.day_kind == "weekdays"
        check_spacing(
            Path("the readings"),
            times.to_numpy(dtype="datetime64[us]"),
            export.card.interval_minutes,
            export.card.steps_per_day if weekdays else None,
        )
    stretches = _stretches(export, len(readings), days)
    data = _prepare(export, readings, stretches, first_step)
    errors, repeated = new_errors(data), new_errors(data)
    for stretch in stretches:
        add_stretch(errors, export.model, data, stretch)
        add_repeated(repeated, data, stretch)
    if not errors.windows:
        raise ExportError(
            f"a window needs {data.window_steps} rows without a break, but the readings have "
            f"{len(readings)}; give more"
        )
    return {
        **_by_metric(errors),
        "windows": errors.windows,
        "repeat_last": _by_metric(repeated),
        "intervals": _covered(export, data, stretches, first_step),
    }


def _covered(
    export: Export, data: PreparedData, stretches: Sequence[Stretch], first_step: int
) -> dict[str, Any] | None:
    if export.intervals is None:
        return None
    found = measure_coverage(export.model, data, stretches, export.intervals, first_step)
    return {"coverage": export.intervals.coverage, **found.to_json()}


def _by_metric(errors: ForecastErrors) -> dict[str, Any]:
    values = plain_numbers(errors.summary())
    return {
        metric: {str(at): values[f"{metric}_{at}"] for at in HORIZON_MINUTES} for metric in METRICS
    }


def _prepare(
    export: Export, readings: NDArray[np.float32], stretches: Sequence[Stretch], first_step: int
) -> PreparedData:
    """Fill and scale the stretches of readings whose first row is ``first_step`` of its day."""
    unread = np.flatnonzero(np.isnan(readings).all(axis=0))
    if len(unread):
        raise ExportError(
            f"every sensor needs at least one reading, but {export.card.sensor_ids[unread[0]]!r} "
            "has none here; give readings in which it has some"
        )
    if np.isinf(readings).any():
        raise ExportError("readings must be finite, got an infinite value; leave it empty (NaN)")
    values = np.array(readings, dtype=np.float32)
    filled = np.array(values)
    for stretch in stretches:
        rows = slice(stretch.start, stretch.stop)
        step = (first_step + stretch.start) % export.card.steps_per_day
        filled[rows] = export.fill(values[rows], step)
    scaled = torch.from_numpy(export.scaler.scale(filled))
    return PreparedData(
        # The card of the training data: unit, interval and sensors are the same.
        card=export.card,
        fingerprint=export.manifest["dataset"]["fingerprint"],
        readings=scaled,
        targets=scaled,
        truth=torch.from_numpy(values),
        scaler=export.scaler,
        graph_kernel=export.model.graph_kernel,
        history_steps=export.model.config.history_steps,
        gaps=CAUSAL,
        usual=export.fill.usual,
    )


def _stretches(export: Export, rows: int, days: Days | None) -> list[Stretch]:
    """Return the uninterrupted stretches of ``days``: weekdays one by one, others as one."""
    length, weekdays = export.card.steps_per_day, export.card.day_kind == "weekdays"
    if weekdays and rows % length:
        raise ExportError(
            f"readings of weekdays must be whole days of {length} rows, got {rows} rows = "
            f"{rows // length} days and {rows % length} rows; leave out the rest"
        )
    if days is None:
        return _daily(0, rows // length, length) if weekdays else [Stretch(0, rows)]
    first, last = days
    if not 0 <= first <= last < rows // length:
        raise ExportError(
            f"--days must lie within the {rows // length} days of the readings, counted from 0, "
            f"got {first}-{last}"
        )
    if weekdays:
        return _daily(first, last + 1, length)
    return [Stretch(first * length, (last + 1) * length)]


def _daily(first: int, stop: int, length: int) -> list[Stretch]:
    return [Stretch(day * length, (day + 1) * length) for day in range(first, stop)]
