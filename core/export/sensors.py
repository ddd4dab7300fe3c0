"""Check that new readings have an exported student's sensors, and place them in the day.

Used by everything that runs an export on new readings. Does not read files.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from core.datasets.dataset import DatasetCard
from core.datasets.tables import is_counting
from core.errors import ExportError

MAX_GAP_MINUTES = 15
"""Runs of missing readings up to this long are filled before a forecast."""


def check_sensors(
    card: DatasetCard, readings: NDArray[np.float32], sensor_ids: Sequence[str] | None
) -> None:
    """Raise ``ExportError`` unless the columns of ``readings`` are the sensors of ``card``.

    Args:
        card: of the dataset that the student was trained on.
        readings: [T, N].
        sensor_ids: of the columns, if known; those that only count up are not compared.
    """
    trained = card.sensor_ids
    if readings.ndim != 2 or readings.shape[1] != len(trained):
        raise ExportError(
            f"readings must have a column for each of the {len(trained)} sensors the student was "
            f"trained on, got shape {list(readings.shape)}; give readings of the same sensors"
        )
    if sensor_ids is None or is_counting(trained) or tuple(sensor_ids) == trained:
        return
    pairs = enumerate(zip(sensor_ids, trained, strict=True))
    column, (came, wanted) = next(pair for pair in pairs if pair[1][0] != pair[1][1])
    advice = "put the columns into the order of the manifest's sensor_ids"
    if set(sensor_ids) != set(trained):
        advice = "give readings of the same sensors"
    raise ExportError(
        f"readings must have the sensors the student was trained on, in their order, but column "
        f"{column} is {came!r} instead of {wanted!r}; {advice}"
    )


def step_of_day(time: datetime, interval_minutes: int) -> int:
    """Return which time step of its day ``time`` lies in, from 0."""
    return (time.hour * 60 + time.minute) // interval_minutes
