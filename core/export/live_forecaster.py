"""Forecast from a live stream of readings, one new row at a time.

Each row computes only the newest column of every layer; the state of earlier rows is the tails of
the temporal layers (``core.forecasters.modules.LiveStep``), so a forecast equals that of the whole
window. Does not read files; ``live.onnx`` of an export does the same without this class.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import ExportError
from core.export.export_folder import Export
from core.export.sensors import MAX_GAP_MINUTES
from core.forecasters.modules import LiveStep, NextStep, continue_forecast, new_state

Row = NDArray[np.float32]


class LiveForecaster:
    """Forecasts after every new row of a stream of readings.

    A missing reading (NaN) is replaced by the sensor's last one for up to ``max_gap_minutes``; it
    cannot be interpolated, since the next reading is not known yet. Longer gaps are refused. Times,
    if given, must be one interval apart; a longer gap between them resets the stream.
    """

    def __init__(self, export: Export, max_gap_minutes: int = MAX_GAP_MINUTES) -> None:
        """Start an empty stream of the student's sensors."""
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
        """How many more rows are needed for a forecast."""
        return max(0, self._export.model.config.history_steps - self._seen)

    @torch.inference_mode()
    def push(self, reading: Row, time: datetime | None = None) -> Row | None:
        """Add the next row of readings and forecast after it.

        Args:
            reading: [N] in the sensors' order and unit; NaN where nothing was measured.
            time: when it was measured; more than one interval after the last row resets the
                stream first.

        Returns:
            The forecast [horizon_steps, N] in the same unit, or None until history_steps rows have
            been added.

        Raises:
            ExportError: the row does not fit or is not the next in time, and was not added; or a
                sensor has had no reading for too long, and the stream was reset.
        """
        self._check_shape(reading)
        if self._follows_gap(time):
            self.reset()
        filled = self._filled(reading, time)
        newest, tails, self._state, _ = self._step(torch.from_numpy(filled), self._state)
        self._last, self._time, self._seen = filled, time, self._seen + 1
        self._carried = np.where(np.isnan(reading), self._carried + 1, 0)
        if self.rows_missing:
            return None
        scaled = continue_forecast(self._following, newest, tails, self._export.horizon_steps)
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

    def _follows_gap(self, time: datetime | None) -> bool:
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
