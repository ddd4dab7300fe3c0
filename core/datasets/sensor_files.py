"""Read where sensors are and what they are called, from a table with a row per sensor.

Knows the columns of PeMS's station files (``ID``, ``Fwy``, ``Dir``, ``Latitude``, ``Longitude``,
``Name``), of METR-LA's ``graph_sensor_locations.csv`` and of tables of one's own, whatever their
order and case; separators are found out (``formats.csv_files``). Does not look at readings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from core.datasets.formats.csv_files import read_csv
from core.datasets.formats.sensor_ids import are_positions, suggestion
from core.datasets.formats.tables import Table, number_of
from core.datasets.sensor_places import SensorPlace
from core.errors import DatasetError

_COLUMNS = {
    "id": ("id", "sensor_id", "sensor", "station_id", "station"),
    "name": ("name",),
    "freeway": ("freeway", "fwy", "road", "highway"),
    "direction": ("direction", "dir"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "lng", "long"),
}
"""What is read -> the labels it may have, in lower case."""
_LIMITS = {"latitude": 90, "longitude": 180}


def read_places(path: Path, sensor_ids: Sequence[str]) -> tuple[SensorPlace, ...]:
    """Return the place of each sensor, in their order; the file may hold more sensors.

    Sensors are found by id. Where readings have no ids, a row belongs to the column of the same
    number, and the file's ids become names.

    Raises:
        DatasetError: unreadable, without the columns, a sensor is missing or twice, or a
            coordinate is none.
    """
    table = read_csv(path, "yes")
    columns = _columns(table)
    ids = table.texts(columns["id"])
    if are_positions(sensor_ids) and not set(sensor_ids) <= set(ids):
        return _by_position(table, columns, ids, len(sensor_ids))
    twice = next((one for one in ids if ids.count(one) > 1 and one in sensor_ids), None)
    if twice is not None:
        raise DatasetError(f"every sensor must stand once in {path}, but {twice!r} is there twice")
    rows = {sensor: row for row, sensor in enumerate(ids)}
    missing = next((sensor for sensor in sensor_ids if sensor not in rows), None)
    if missing is not None:
        raise DatasetError(
            f"{path} must have a row for every sensor of the readings, but has none for "
            f"{missing!r}{suggestion(missing, ids)}; add it, its places may be empty"
        )
    return tuple(_place(table, columns, rows[sensor]) for sensor in sensor_ids)


def _columns(table: Table) -> dict[str, int]:
    labels = [label.lower() for label in table.labels or ()]
    found = {
        what: labels.index(next(name for name in names if name in labels))
        for what, names in _COLUMNS.items()
        if any(name in labels for name in names)
    }
    for what in ("id", "latitude", "longitude"):
        if what not in found:
            raise DatasetError(
                f"{table.path} must have a column {what}, but its columns are "
                f"{', '.join(table.labels or ())}; name one {' or '.join(_COLUMNS[what][:2])}"
            )
    return found


def _by_position(
    table: Table, columns: dict[str, int], ids: Sequence[str], sensors: int
) -> tuple[SensorPlace, ...]:
    if len(ids) != sensors:
        raise DatasetError(
            f"{table.path} must have a row for each of the {sensors} columns of readings, which "
            f"have no ids, but has {len(ids)}; give readings with ids, or the same rows"
        )
    return tuple(_place(table, columns, row, also=ids[row]) for row in range(sensors))


def _place(table: Table, columns: dict[str, int], row: int, also: str = "") -> SensorPlace:
    """Read a row; ``also`` is its name where it has none."""

    def text(what: str) -> str:
        return str(table.cells.iloc[row, columns[what]]).strip() if what in columns else ""

    latitude, longitude = (_degrees(table, row, columns[what], what) for what in _LIMITS)
    if latitude is None or longitude is None:
        latitude = longitude = None
    name = text("name") or also
    return SensorPlace(name, text("freeway"), text("direction"), latitude, longitude)


def _degrees(table: Table, row: int, column: int, what: str) -> float | None:
    text = str(table.cells.iloc[row, column]).strip()
    value = number_of(text, table.decimal)
    if value is None or abs(value) > _LIMITS[what]:
        raise DatasetError(
            f"a {what} must be within {_LIMITS[what]} degrees, but {table.place(row, column)} "
            f"holds {text!r}; correct it, or leave it empty"
        )
    return None if math.isnan(value) else value
