"""Take rows of readings, forecast after each, and keep what a service must know of them.

The one place that changes anything: a batch of rows is checked as a whole, written to the journal
and then forecast from, under one lock. Starting replays the journal, so a service that was killed
goes on as if it had not been. Knows nothing of HTTP.
"""

from __future__ import annotations

import threading
import time as clock
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import ExportError
from core.export.onnx_stream import OnnxStream
from core.export.stream_rows import Row
from hpo.serving.journal import Journal, TimedRow
from hpo.serving.rolling_errors import RollingErrors, RollingMae

_DAYS_KEPT = 2
"""Enough for a day of errors, and for the rows before it that its forecasts were made from."""


@dataclass(frozen=True)
class Made:
    """What was known after one row."""

    row: TimedRow
    forecast: Row | None
    """[horizon_steps, N]; None: too few rows had come."""


class LiveService:
    """A stream of readings, its forecasts and their errors."""

    def __init__(
        self, export: Path, state: Path, timed: Callable[[float], None] = lambda _: None
    ) -> None:
        """Open an export and go on with the rows in ``state``.

        Args:
            export: folder of the export.
            state: folder of the rows received; made where it does not exist.
            timed: is told the seconds that each new row took, journal included.

        Raises:
            ExportError: the export is damaged.
            StorageError: the state cannot be written, is in use or belongs to other sensors.
        """
        self.stream, self.name = OnnxStream(export), export.resolve().name
        self.manifest, self.card = self.stream.manifest, self.stream.card
        self._lock, self._timed = threading.Lock(), timed
        day = self.card.steps_per_day
        self._journal = Journal(state, self.card, _DAYS_KEPT * day)
        self._errors = RollingErrors(
            self.manifest["horizon_minutes"], self.card.interval_minutes, day
        )
        self._recent: deque[Made] = deque(maxlen=day)
        self.rows_received = 0
        for row in self._journal.replayed():
            self._take(row)

    @property
    def newest(self) -> Made | None:
        """What is known now; None before the first row."""
        return self._recent[-1] if self._recent else None

    def recent(self) -> list[Made]:
        """Return what was known after each of the newest rows, a day of them at most."""
        with self._lock:
            return list(self._recent)

    def mean_errors(self) -> RollingMae:
        """Return the errors of the last day per horizon."""
        with self._lock:
            return self._errors.overall()

    def mean_errors_by_sensor(self) -> RollingMae:
        """Return the errors of the last day per horizon and sensor [horizons, N]."""
        with self._lock:
            return self._errors.by_sensor()

    @property
    def rows_judged(self) -> int:
        """How many rows of the last day a forecast had been made for."""
        return self._errors.rows

    def add(self, rows: Sequence[TimedRow]) -> int:
        """Add rows in their order, all or none, and return how many were new.

        Rows at the start that came before, with the same readings, count as sent again.

        Raises:
            ExportError: a row does not fit or is not the next in time.
            OSError: the disk is full or broken.
        """
        with self._lock:
            new = self._unknown(rows)
            self._check(new)
            if new:
                started = clock.perf_counter()
                self._journal.append(new)
                for row in new:
                    self._take(row)
                self._timed((clock.perf_counter() - started) / len(new))
                self.rows_received += len(new)
            return len(new)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def in_order(self, readings: Sequence[float | None] | Mapping[str, float | None]) -> Row:
        """Return readings as a row: by sensor id, or in the order of the manifest's sensor ids.

        Raises:
            ExportError: an id is unknown.
        """
        if isinstance(readings, Mapping):
            unknown = readings.keys() - set(self.card.sensor_ids)
            if unknown:
                raise ExportError(
                    f"readings must be of the export's sensors, got {min(unknown)!r}; see /sensors"
                )
            readings = [readings.get(sensor) for sensor in self.card.sensor_ids]
        return _float32([np.nan if value is None else value for value in readings])

    def _take(self, row: TimedRow) -> None:
        filled, forecast = self.stream.push(row.reading, row.time)
        self._errors.add(row.time, row.reading, filled, forecast)
        self._recent.append(Made(row, forecast))

    def _unknown(self, rows: Sequence[TimedRow]) -> list[TimedRow]:
        """Leave out rows that were sent again, perhaps because their answer was lost."""
        left = list(rows)
        known = {made.row.time: made.row for made in self._recent}
        while left and (before := known.get(left[0].time)) is not None:
            if not np.array_equal(before.reading, left[0].reading, equal_nan=True):
                break
            left.pop(0)
        return left

    def _check(self, rows: Sequence[TimedRow]) -> None:
        before = self.stream.rows.time
        for row in rows:
            self.stream.rows.check(row.reading)
            self._check_time(row.time, before)
            before = row.time

    def _check_time(self, time: datetime, before: datetime | None) -> None:
        if before is not None and (time.tzinfo is None) != (before.tzinfo is None):
            has = "none" if before.tzinfo is None else "one"
            raise ExportError(
                f"times must all have a time zone or none, but {time.isoformat()} comes after rows "
                f"that have {has}; give local times as before"
            )
        interval = self.card.interval_minutes
        if before is not None and time < before + timedelta(minutes=interval):
            raise ExportError(
                f"rows must come {interval} minutes apart, but {time.isoformat()} follows "
                f"{before.isoformat()}; leave it out, or send it as it was before"
            )
        if time.second or time.microsecond or (time.hour * 60 + time.minute) % interval:
            raise ExportError(
                f"times must be whole multiples of {interval} minutes of their day, got "
                f"{time.isoformat()}; round it"
            )


def _float32(values: Sequence[float]) -> NDArray[np.float32]:
    # A number beyond float32 becomes infinite, which the check of rows refuses.
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float64).astype(np.float32)
