"""New rows of readings in, one at a time, the forecast after each out.

Each row computes only the newest column of every layer; what earlier rows left are the tails of the
temporal layers (``core.forecasters.modules.LiveStep``), so a forecast equals that of the whole
window. Reads no files; ``live.onnx`` of an export is the same without this class.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import ExportError
from core.export.export_folder import Export
from core.export.sensors import MAX_GAP_MINUTES
from core.forecasters.modules import LiveStep, NextStep, go_on, new_state

Row = NDArray[np.float32]


class LiveForecaster:
    """Forecasts that follow a stream of readings.

    A missing reading (NaN) is taken to be the sensor's last one for up to ``max_gap_minutes``: what
    comes next, between which one could interpolate, is not known yet. Longer gaps are refused.
    Times, where given, must follow each other at the interval; a gap between them starts anew.
    """

    def __init__(self, export: Export, max_gap_minutes: int = MAX_GAP_MINUTES) -> None:
        """Start a stream of the student's sensors that has seen nothing."""
        self._export, self._max_gap = export, max_gap_minutes // export.card.interval_minutes
        self._step = LiveStep(export.model, export.scaler)
        self._following = NextStep(export.model)
        self._interval = timedelta(minutes=export.card.interval_minutes)
        self.reset()

    def reset(self) -> None:
        """Forget every row."""
        self._state = new_state(self._export.model)
        self._last: Row | None = None
        self._carried = np.zeros(self._export.card.num_sensors, dtype=np.int64)
        self._time: datetime | None = None
        self._seen = 0

    @property
    def rows_missing(self) -> int:
        """How many rows must still come before there is a forecast."""
        return max(0, self._export.model.config.history_steps - self._seen)

    @torch.inference_mode()
    def push(self, reading: Row, time: datetime | None = None) -> Row | None:
        """Take in the next row of readings.

        Args:
            reading: [N] in the sensors' order and unit; NaN where nothing was measured.
            time: when it was measured; a later time than the interval after the last one starts
                anew.

        Returns:
            The forecast [horizon_steps, N] in the same unit, or None until history_steps rows have
            come.

        Raises:
            ExportError: the row does not fit or is not the next in time, and was not taken in; or a
                sensor has been without a reading for too long, and the stream has begun anew.
        """
        self._check_shape(reading)
        if self._begins_anew(time):
            self.reset()
        filled = self._filled(reading, time)
        newest, tails, self._state, _ = self._step(torch.from_numpy(filled), self._state)
        self._last, self._time, self._seen = filled, time, self._seen + 1
        self._carried = np.where(np.isnan(reading), self._carried + 1, 0)
        if self.rows_missing:
            return None
        scaled = go_on(self._following, newest, tails, self._export.horizon_steps)
        forecast: Row = self._export.scaler.unscale(scaled)[0].numpy()
        return forecast

    def _check_shape(self, reading: Row) -> None:
        sensors = self._export.card.num_sensors
        if reading.shape != (sensors,):
            raise ExportError(
                f"a row must hold a reading of each of the {sensors} sensors, got shape "
                f"{list(reading.shape)}; give NaN where nothing was measured"
            )
        if np.isinf(reading).any():
            raise ExportError("readings must be finite, got an infinite value; give NaN instead")

    def _begins_anew(self, time: datetime | None) -> bool:
        if self._time is None or time is None:
            return False
        if time < self._time + self._interval:
            raise ExportError(
                f"rows must come {self._export.card.interval_minutes} minutes apart, but {time} "
                f"follows {self._time}; leave it out, or reset the stream"
            )
        return time > self._time + self._interval

    def _filled(self, reading: Row, time: datetime | None) -> Row:
        missing = np.isnan(reading)
        too_long = missing & ((self._carried >= self._max_gap) | (self._last is None))
        if too_long.any():
            self.reset()
            sensor = self._export.card.sensor_ids[int(too_long.argmax())]
            minutes = self._max_gap * self._export.card.interval_minutes
            when = "" if time is None else f" at {time}"
            raise ExportError(
                f"a missing reading is replaced by the one before for up to {minutes} minutes, but "
                f"sensor {sensor!r} has had none for longer{when}; begin anew once it has one"
            )
        before = reading if self._last is None else self._last
        return np.where(missing, before, reading).astype(np.float32)
