"""Forecast from a live stream of readings, one new row at a time.

Each row computes only the newest column of every layer; the state of earlier rows is the tails of
the temporal layers (``core.stgcn``), so a forecast equals that of the whole window. Does not read
files; ``live.onnx`` of an export does the same without this class, but knows no times of day.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import ExportError
from core.export.export_folder import Export
from core.export.sensors import MAX_GAP_MINUTES, step_of_day
from core.forecasters.modules import NextStep, continue_forecast, new_tails, next_step

Row = NDArray[np.float32]


class LiveForecaster:
    """Forecasts after every new row of a stream of readings.

    A missing reading (NaN) is filled as in training (``core.preprocessing.gaps.CausalFill``): by
    the sensor's last one, before its first by what is usual at this time of day. Where more than
    ``max_gap_minutes`` in a row are missing, that sensor has no forecast (NaN) until whole windows
    have shorter gaps again; all others have. Times, if given, must be one interval apart; a longer
    gap between them resets the stream. Without times, usual is a mean over the day.
    """

    def __init__(self, export: Export, max_gap_minutes: int | None = MAX_GAP_MINUTES) -> None:
        """Start an empty stream of the student's sensors.

        Args:
            export: an opened export.
            max_gap_minutes: longest run of missing readings after which a sensor has a forecast;
                None: however long.
        """
        self._export, self._max_gap = export, None
        if max_gap_minutes is not None:
            self._max_gap = max_gap_minutes // export.card.interval_minutes
        self._following = NextStep(export.model)
        self._interval = timedelta(minutes=export.card.interval_minutes)
        self.reset()

    def reset(self) -> None:
        """Forget every row."""
        sensors = self._export.card.num_sensors
        self._tails = new_tails(self._export.model)
        self._last: Row = np.full(sensors, np.nan, dtype=np.float32)
        self._filled = np.zeros(sensors, dtype=np.int64)
        self._usable = np.zeros(sensors, dtype=np.int64)
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
            The forecast [horizon_steps, N] in the same unit, NaN for sensors with too long a gap;
            or None until history_steps rows have been added.

        Raises:
            ExportError: the row does not fit or is not the next in time, and was not added.
        """
        self._check_shape(reading)
        if self._follows_gap(time):
            self.reset()
        self._count_filled(reading)
        newest, self._tails = next_step(
            self._export.model,
            self._export.scaler.scale(torch.from_numpy(self._fill(reading, time)))[None, None],
            torch.from_numpy(np.isnan(reading))[None, None],
            self._tails,
        )
        self._time, self._seen = time, self._seen + 1
        if self.rows_missing:
            return None
        steps = self._export.horizon_steps
        scaled = continue_forecast(self._following, newest, self._tails, steps)
        forecast: Row = self._export.scaler.unscale(scaled)[0].numpy()
        usable = self._usable >= self._export.model.config.history_steps
        return np.where(usable, forecast, np.float32(np.nan))

    def _count_filled(self, reading: Row) -> None:
        """Count per sensor the readings filled in a row, and the rows that can be used."""
        self._filled = np.where(np.isnan(reading), self._filled + 1, 0)
        most = np.inf if self._max_gap is None else self._max_gap
        self._usable = np.where(self._filled > most, 0, self._usable + 1)

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

    def _fill(self, reading: Row, time: datetime | None) -> Row:
        fill, step = self._export.fill, None
        if time is not None:
            step = step_of_day(time, self._export.card.interval_minutes)
        if fill.begins(step):
            self._last = np.full_like(self._last, np.nan)
        filled = fill.next_row(reading, self._last, step)
        self._last = np.where(np.isnan(reading), self._last, reading)
        return filled
