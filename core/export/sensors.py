"""Match columns of new readings with an exported student's sensors, and place them in the day.

Used by everything that runs an export on new readings. Does not read files.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from core.datasets.dataset import DatasetCard
from core.datasets.formats.sensor_ids import are_positions, order_by_id, suggestion
from core.errors import ExportError

MAX_GAP_MINUTES = 15
"""Runs of missing readings up to this long are filled before a forecast."""


def in_trained_order(
    card: DatasetCard, readings: NDArray[np.float32], sensor_ids: Sequence[str] | None
) -> NDArray[np.float32]:
    """Return the columns of ``readings`` in the order of the sensors of ``card``, matched by id.

    Without ids on one of both sides, columns are taken in their order.

    Args:
        card: of the dataset that the student was trained on.
        readings: [T, N].
        sensor_ids: of the columns, if known.

    Raises:
        ExportError: they are other sensors.
    """
    trained = card.sensor_ids
    if readings.ndim != 2 or readings.shape[1] != len(trained):
        raise ExportError(
            f"readings must have a column for each of the {len(trained)} sensors the student was "
            f"trained on, got shape {list(readings.shape)}; give readings of the same sensors"
        )
    if sensor_ids is None or tuple(sensor_ids) == trained:
        return readings
    order = order_by_id(sensor_ids, trained)
    if order is not None:
        return np.ascontiguousarray(readings[:, order])
    if are_positions(trained) and not _could_count(sensor_ids):
        return readings
    known = set(trained)
    column = next(at for at, sensor in enumerate(sensor_ids) if sensor not in known)
    came = sensor_ids[column]
    raise ExportError(
        f"readings must have the sensors the student was trained on, but column {column} is "
        f"{came!r} instead of {trained[column]!r}{suggestion(came, trained)}; give readings of the "
        "same sensors"
    )


def _could_count(ids: Sequence[str]) -> bool:
    """Return whether whole numbers count sensors from 1 in another order than the columns'."""
    counted = [str(index + 1) for index in range(len(ids))]
    return list(ids) != counted and bool(set(ids) & {"0", *counted})


def step_of_day(time: datetime, interval_minutes: int) -> int:
    """Return which time step of its day ``time`` lies in, from 0."""
    return (time.hour * 60 + time.minute) // interval_minutes
