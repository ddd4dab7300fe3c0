"""Forecast from a live stream of readings, one new row at a time.

Each row computes only the newest column of every layer; the state of earlier rows is the tails of
the temporal layers (``core.stgcn``), so a forecast equals that of the whole window. Does not read
files; ``live.onnx`` of an export does the same without this class, but knows no times of day.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import torch

from core.export.export_folder import Export
from core.export.sensors import MAX_GAP_MINUTES
from core.export.stream_rows import Row, StreamRows
from core.forecasters.modules import NextStep, continue_forecast, new_tails, next_step


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
        self._export, self._following = export, NextStep(export.model)
        history_steps = export.model.config.history_steps
        self._rows = StreamRows(export.card, export.fill, history_steps, max_gap_minutes)
        self.reset()

    def reset(self) -> None:
        """Forget every row."""
        self._rows.reset()
        self._tails = new_tails(self._export.model)

    @property
    def rows_missing(self) -> int:
        """How many more rows are needed for a forecast."""
        return self._rows.rows_missing

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
        self._rows.check(reading)
        if self._rows.begins_anew(time, self._rows.time):
            self.reset()
        filled = self._rows.add(reading, time)
        newest, self._tails = next_step(
            self._export.model,
            self._export.scaler.scale(torch.from_numpy(filled))[None, None],
            torch.from_numpy(np.isnan(reading))[None, None],
            self._tails,
        )
        if self.rows_missing:
            return None
        steps = self._export.horizon_steps
        scaled = continue_forecast(self._following, newest, self._tails, steps)
        forecast: Row = self._export.scaler.unscale(scaled)[0].numpy()
        return np.where(self._rows.usable, forecast, np.float32(np.nan))
