"""Forecast from a live stream of readings with an export's ``live.onnx``, without torch.

Checks, fills and resets by the rules of ``core.export.live_forecaster``, so both forecast the same.
A student that reads which readings were missing gets them as they are: what stands in before a
sensor's first reading is then a mean over the day. Does not write files.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

from core.evaluation.intervals import hours_ahead
from core.export.manifest import (
    LATER_FILES,
    card_of,
    check_files,
    fill_of,
    intervals_of,
    read_manifest,
)
from core.export.sensors import step_of_day
from core.export.stream_rows import Row, StreamRows
from core.forecasters.onnx_runtime import open_session

_LIVE_FILE = "live.onnx"


class OnnxStream:
    """Forecasts after every new row, as ``core.live_forecaster.LiveForecaster`` does."""

    def __init__(self, folder: Path) -> None:
        """Open the export in ``folder`` and start an empty stream of its sensors.

        Raises:
            ExportError: the export is incomplete, damaged or of another version.
        """
        self.manifest = read_manifest(folder)
        check_files(folder, self.manifest, (_LIVE_FILE, *LATER_FILES))
        self.card = card_of(self.manifest, folder)
        fill = fill_of(self.manifest, self.card, folder)
        self._intervals = intervals_of(self.manifest, self.card, folder)
        self._session = open_session((folder / _LIVE_FILE).read_bytes())
        self._reads_mask = bool(self.manifest["network"].get("missing_mask"))
        self.rows = StreamRows(
            self.card, fill, self.manifest["history_steps"], self.manifest["max_gap_minutes"]
        )
        self.reset()

    def reset(self) -> None:
        """Forget every row."""
        self.rows.reset()
        self._state = np.zeros(self.manifest["live"]["input"]["state"], dtype=np.float32)

    def half_widths(self, time: datetime) -> Row | None:
        """Return those of the intervals around the forecast after a row [horizon_steps, N].

        None of exports from before there were intervals.
        """
        if self._intervals is None:
            return None
        interval = self.card.interval_minutes
        steps, first = self.manifest["horizon_steps"], step_of_day(time, interval) + 1
        widths: Row = self._intervals.around(hours_ahead(first, 1, steps, interval))[0]
        return widths

    def push(self, reading: Row, time: datetime) -> tuple[Row, Row | None]:
        """Add the next row of readings and forecast after it.

        Args:
            reading: [N] in the sensors' order and unit; NaN where nothing was measured.
            time: when it was measured, local; more than one interval after the last row resets the
                stream first.

        Returns:
            The row without gaps [N], and the forecast [horizon_steps, N], NaN for sensors with too
            long a gap; None until history_steps rows have been added.

        Raises:
            ExportError: the row does not fit or is not the next in time, and was not added.
        """
        self.rows.check(reading)
        if self.rows.begins_anew(time, self.rows.time):
            self.reset()
        filled = self.rows.add(reading, time)
        given = {"reading": reading if self._reads_mask else filled, "state": self._state}
        forecast, self._state = self._session.run(["forecast", "next_state"], given)
        if self.rows.rows_missing:
            return filled, None
        return filled, np.where(self.rows.usable, forecast, np.float32(np.nan))
