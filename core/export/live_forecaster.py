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
from core.export.sensors import MAX_GAP_MINUTES, step_of_day
from core.forecasters.modules import LiveStep, NextStep, continue_forecast, new_state

Row = NDArray[np.float32]


class LiveForecaster:
    """Forecasts after every new row of a stream of readings.

    A missing reading (NaN) is filled as in training (``core.preprocessing.gaps.CausalFill``): by
    the sensor's last one, before its first by what is usual at this time of day, for up to
    ``max_gap_minutes``. Longer gaps are refused. Times, if given, must be one interval apart; a
    longer gap between them resets the stream. Without times, usual is a mean over the day.
    """

    def __init__(self, export: Export, max_gap_minutes: int | None = MAX_GAP_MINUTES) -> None:
        """Start an empty stream of the student's sensors.

        Args:
            export: an opened export.
            max_gap_minutes: longest run of missing readings to fill; None: however long.
        """
        self._export, self._max_gap = export, None
        if max_gap_minutes is not None:
            self._max_gap = max_gap_minutes // export.card.interval_minutes
        self._step = LiveStep(export.model, export.scaler)
        self._following = NextStep(export.model)
        self._interval = timedelta(minutes=export.card.interval_minutes)
        self.reset()

    def reset(self) -> None:
        """Forget every row."""
        self._state = new_state(self._export.model)
        self._last: Row = np.full(self._export.card.num_sensors, np.nan, dtype=np.float32)
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
        self._check_gaps(reading, time)
        filled = self._filled(reading, time)
        newest, tails, self._state, _ = self._step(torch.from_numpy(filled), self._state)
        self._time, self._seen = time, self._seen + 1
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

    def _check_gaps(self, reading: Row, time: datetime | None) -> None:
        if self._max_gap is None:
            return
        too_long = np.isnan(reading) & (self._carried >= self._max_gap)
        if too_long.any():
            self.reset()
            sensor = self._export.card.sensor_ids[int(too_long.argmax())]
            minutes = self._max_gap * self._export.card.interval_minutes
            when = "" if time is None else f" at {time}"
            raise ExportError(
                f"a missing reading is filled for up to {minutes} minutes, but sensor {sensor!r} "
                f"has had none for longer{when}; begin anew once it has one"
            )

    def _filled(self, reading: Row, time: datetime | None) -> Row:
        fill, step = self._export.fill, None
        if time is not None:
            step = step_of_day(time, self._export.card.interval_minutes)
        if fill.begins(step):
            self._last = np.full_like(self._last, np.nan)
        filled = fill.next_row(reading, self._last, step)
        self._last = np.where(np.isnan(reading), self._last, reading)
        return filled
