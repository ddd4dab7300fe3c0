"""Forecast after one row of a file of readings, with an export's ``model.onnx``.

Needs neither torch nor the dataset. Gaps in the rows that a forecast needs are filled up to a
limit, from earlier rows alone, as in training (``core.preprocessing.gaps``). Does not read the file
(``core.datasets.readings_files`` does).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.datasets.dataset import DatasetCard
from core.datasets.readings_files import ReadingsTable
from core.errors import ConfigError, ExportError
from core.evaluation.intervals import hours_ahead
from core.export.manifest import (
    LATER_FILES,
    Manifest,
    card_of,
    check_files,
    fill_of,
    intervals_of,
    read_manifest,
)
from core.export.sensors import in_trained_order, step_of_day
from core.forecasters.onnx_runtime import forecast_live, forecast_windows
from core.preprocessing.gaps import longest_gap


@dataclass(frozen=True)
class Forecast:
    """The forecast after one row of readings."""

    values: NDArray[np.float32]
    """[horizon_steps, N] in the readings' unit."""
    minutes: list[int]
    """Minutes after that row, one per step."""
    times: list[pd.Timestamp] | None
    """One per step, if the file has times; else None."""
    at: pd.Timestamp | int
    """The row's time, or its position from 0."""
    sensor_ids: tuple[str, ...]
    unit: str
    half_widths: NDArray[np.float32] | None
    """Of intervals around ``values`` [horizon_steps, N]; None of exports without intervals."""
    coverage: float | None
    """Share of readings that should lie within the intervals."""


@dataclass(frozen=True)
class _History:
    """The rows up to the last one before a forecast."""

    values: NDArray[np.float32]
    """[T, N] on the regular grid of the interval, NaN where nothing was measured."""
    labels: list[str]
    """The name of each row, for messages."""
    at: pd.Timestamp | int
    first_step: int
    """Time step of the day of the first row."""


def forecast_readings(
    folder: Path, table: ReadingsTable, at: str | None = None, max_gap: int | None = None
) -> Forecast:
    """Forecast the steps after one row of ``table``.

    Args:
        folder: of the export.
        table: readings of its sensors; if it has times, rows may be missing.
        at: the time of the last row to use, or its position from 0 if the table has no times;
            None: the last.
        max_gap: longest gap to fill, in minutes; None: the manifest's.

    Raises:
        ExportError: the export is damaged, or the readings do not fit it or have larger gaps.
        ConfigError: ``at`` is not in the table, or ``max_gap`` below zero.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest, (_forecaster(manifest), *LATER_FILES))
    card = card_of(manifest, folder)
    values = in_trained_order(card, table.values, table.sensor_ids)
    table = replace(table, values=values, sensor_ids=card.sensor_ids)
    limit = _limit(manifest, card, max_gap)
    history = _history(card, manifest, table, at, limit)
    _check_gaps(history, card, manifest["history_steps"], limit)
    steps = _forecast(folder, manifest, card, history)
    minutes = [card.interval_minutes * step for step in range(1, len(steps) + 1)]
    times = None
    if isinstance(history.at, pd.Timestamp):
        times = [history.at + pd.Timedelta(minutes=after) for after in minutes]
    intervals = intervals_of(manifest, card, folder)
    ahead = history.first_step + len(history.values), 1, len(steps), card.interval_minutes
    return Forecast(
        steps,
        minutes,
        times,
        history.at,
        card.sensor_ids,
        card.unit,
        None if intervals is None else intervals.around(hours_ahead(*ahead))[0],
        None if intervals is None else intervals.coverage,
    )


def _forecast(
    folder: Path, manifest: Manifest, card: DatasetCard, history: _History
) -> NDArray[np.float32]:
    """Forecast [horizon_steps, N] after the last row of ``history``."""
    content = (folder / _forecaster(manifest)).read_bytes()
    if _reads_mask(manifest):
        streamed: NDArray[np.float32] = forecast_live(content, history.values)[-1]
        return streamed
    fill = fill_of(manifest, card, folder)
    window = fill(history.values, history.first_step)[-manifest["history_steps"] :]
    forecast: NDArray[np.float32] = forecast_windows(content, window[None])[0]
    return forecast


def _forecaster(manifest: Manifest) -> str:
    """Name the file to forecast with; one that knows of gaps from before the window, for a mask."""
    return "live.onnx" if _reads_mask(manifest) else "model.onnx"


def _limit(manifest: Manifest, card: DatasetCard, minutes: int | None) -> int:
    most = manifest["max_gap_minutes"]
    limit = most if minutes is None else minutes
    if limit < 0:
        raise ConfigError(f"--max-gap must be at least 0 minutes, got {limit}")
    if limit > most and _reads_mask(manifest):
        raise ConfigError(
            f"--max-gap must be at most {most} minutes for a student that reads which readings "
            f"were missing, got {limit}; lower it"
        )
    return int(limit // card.interval_minutes)


def _reads_mask(manifest: Manifest) -> bool:
    return bool(manifest["network"].get("missing_mask"))


def _history(
    card: DatasetCard, manifest: Manifest, table: ReadingsTable, at: str | None, limit: int
) -> _History:
    """Select the rows that a forecast needs, and earlier ones to fill their gaps."""
    needed = manifest["history_steps"]
    if table.times is None:
        row = _position(len(table.values), at)
        _check_midnight(card, len(table.values), row, needed)
        first = max(0, row + 1 - needed - limit)
        rows = range(first, row + 1)
        labels, step = [f"row {one}" for one in rows], first % card.steps_per_day
        history = _History(table.values[first : row + 1], labels, row, step)
    else:
        history = _by_time(card, table.values, table.times, at, needed + limit)
    if len(history.values) < needed:
        raise ExportError(
            f"a forecast needs {needed} rows of readings, but there are {len(history.values)} up "
            f"to {history.labels[-1]}; give more, or a later --at"
        )
    return history


def _position(rows: int, at: str | None) -> int:
    if at is None:
        return rows - 1
    if at.isdecimal() and int(at) < rows:
        return int(at)
    raise ConfigError(
        f"--at must be a row from 0 to {rows - 1}, as these readings have no times, got {at!r}; "
        "--time-column names a column of times"
    )


def _check_midnight(card: DatasetCard, rows: int, row: int, needed: int) -> None:
    """Refuse a history across a midnight between days that need not be consecutive."""
    length = card.steps_per_day
    if card.day_kind == "weekdays" and rows % length == 0 and row % length < needed - 1:
        raise ExportError(
            f"a forecast needs {needed} rows of one day, as weekdays need not be neighbours, but "
            f"row {row} is row {row % length} of its day; give a later --at, or a --time-column"
        )


def _by_time(
    card: DatasetCard,
    values: NDArray[np.float32],
    times: pd.Series[pd.Timestamp],
    at: str | None,
    rows: int,
) -> _History:
    index = pd.DatetimeIndex(times)
    interval = pd.Timedelta(minutes=card.interval_minutes)
    _check_times(index, interval)
    last = index[-1] if at is None else _time(index, at)
    grid = pd.date_range(end=last, periods=rows, freq=interval)
    grid = grid[grid >= index[0]]
    found = index.get_indexer(grid)
    readings = np.where(found[:, None] < 0, np.float32(np.nan), values[found])
    step = step_of_day(grid[0], card.interval_minutes)
    return _History(readings, [str(time) for time in grid], last, step)


def _check_times(index: pd.DatetimeIndex, interval: pd.Timedelta) -> None:
    steps = index[1:] - index[:-1]
    back = np.flatnonzero(steps <= pd.Timedelta(0))
    if len(back):
        raise ExportError(
            f"times must increase from row to row, but {index[back[0] + 1]} comes after "
            f"{index[back[0]]}; sort the rows, and leave each time in once"
        )
    odd = np.flatnonzero(steps % interval != pd.Timedelta(0))
    usual = steps.value_counts().index[0] if len(steps) else interval
    if usual != interval:
        raise ExportError(
            f"rows must lie {_minutes(interval):g} minutes apart, as those the student was trained "
            f"on, but here they lie {_minutes(usual):g} apart; give readings of the same interval"
        )
    if len(odd):
        raise ExportError(
            f"rows must lie {_minutes(interval):g} minutes or a multiple of it apart, but "
            f"{index[odd[0] + 1]} comes after {index[odd[0]]}; correct the times"
        )


def _minutes(step: pd.Timedelta) -> float:
    return step.total_seconds() / 60


def _time(index: pd.DatetimeIndex, at: str) -> pd.Timestamp:
    try:
        wanted = pd.Timestamp(at)
    except ValueError as error:
        raise ConfigError(f"--at must be a time such as {index[-1]}, got {at!r}") from error
    if wanted.tzinfo is None and index.tz is not None:
        wanted = wanted.tz_localize(index.tz)
    if (wanted.tzinfo is None) != (index.tz is None):
        raise ConfigError(f"--at must have no time zone, as these readings have none, got {at!r}")
    if wanted not in index:
        place = int(index.searchsorted(wanted))
        nearest = " and ".join(str(one) for one in index[max(0, place - 1) : place + 1])
        raise ConfigError(
            f"--at must be a time of the readings, got {wanted}; the nearest: {nearest}"
        )
    return wanted


def _check_gaps(history: _History, card: DatasetCard, needed: int, limit: int) -> None:
    """Refuse gaps above the limit that reach into the last ``needed`` rows."""
    missing = np.isnan(history.values)
    for sensor in np.flatnonzero(missing[-needed:].any(axis=0)):
        # The whole length of a gap counts, also the part before the needed rows.
        first, length = longest_gap(missing[:, sensor])
        if length > limit:
            raise ExportError(
                f"gaps of up to {limit * card.interval_minutes} minutes are filled, but "
                f"sensor {card.sensor_ids[sensor]!r} has no reading from {history.labels[first]} "
                f"to {history.labels[first + length - 1]}; give readings without, or raise "
                "--max-gap"
            )
