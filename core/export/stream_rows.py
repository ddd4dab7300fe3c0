"""Check, fill and count the rows of a live stream, whatever runs the network on them.

Needs no torch. Does not forecast (``core.export.live_forecaster`` and ``core.export.onnx_stream``
do) and keeps nothing on the disk.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from core.datasets.dataset import DatasetCard
from core.errors import ExportError
from core.export.sensors import step_of_day
from core.preprocessing.gaps import CausalFill

Row = NDArray[np.float32]


class StreamRows:
    """The rows of a stream so far: when the last came, and what fills a gap in the next."""

    def __init__(
        self, card: DatasetCard, fill: CausalFill, history_steps: int, max_gap_minutes: int | None
    ) -> None:
        """Start an empty stream.

        Args:
            card: of the dataset that the student was trained on.
            fill: fills gaps as in training.
            history_steps: rows that a forecast needs (M).
            max_gap_minutes: longest run of missing readings after which a sensor has a forecast;
                None: however long.
        """
        self._card, self._fill, self._history_steps = card, fill, history_steps
        self._interval = timedelta(minutes=card.interval_minutes)
        self._most_filled = np.inf
        if max_gap_minutes is not None:
            self._most_filled = max_gap_minutes // card.interval_minutes
        self.reset()

    def reset(self) -> None:
        """Forget every row."""
        sensors = self._card.num_sensors
        self.time: datetime | None = None
        self.last: Row = np.full(sensors, np.nan, dtype=np.float32)
        self._filled = np.zeros(sensors, dtype=np.int64)
        self._usable = np.zeros(sensors, dtype=np.int64)
        self._seen = 0

    @property
    def rows_missing(self) -> int:
        """How many more rows are needed for a forecast."""
        return max(0, self._history_steps - self._seen)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which sensors [N] have no gap above the limit within the last history_steps rows."""
        return self._usable >= self._history_steps

    def begins_anew(self, time: datetime | None, after: datetime | None) -> bool:
        """Return whether a row at ``time`` comes more than one interval after the one before it.

        Raises:
            ExportError: it comes less than one interval after it.
        """
        if after is None or time is None:
            return False
        if time < after + self._interval:
            raise ExportError(
                f"rows must come {self._card.interval_minutes} minutes apart, but {time} "
                f"follows {after}; leave it out, or reset the stream"
            )
        return time > after + self._interval

    def check(self, reading: Row) -> None:
        """Raise ``ExportError`` unless ``reading`` is a row of all sensors, finite or NaN."""
        sensors = self._card.num_sensors
        if reading.shape != (sensors,):
            raise ExportError(
                f"a row must hold a reading of each of the {sensors} sensors, got shape "
                f"{list(reading.shape)}; give NaN where nothing was measured"
            )
        if np.isinf(reading).any():
            raise ExportError("readings must be finite, got an infinite value; give NaN instead")

    def add(self, reading: Row, time: datetime | None) -> Row:
        """Add a row that was checked and begins nothing anew, and return it without gaps [N]."""
        self._filled = np.where(np.isnan(reading), self._filled + 1, 0)
        self._usable = np.where(self._filled > self._most_filled, 0, self._usable + 1)
        step = None if time is None else step_of_day(time, self._card.interval_minutes)
        if self._fill.begins(step):
            self.last = np.full_like(self.last, np.nan)
        filled = self._fill.next_row(reading, self.last, step)
        self.last = np.where(np.isnan(reading), self.last, reading)
        self.time, self._seen = time, self._seen + 1
        return filled
