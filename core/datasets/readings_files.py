"""Read a user's readings file as float32 readings [T, N] with NaN for gaps.

Formats: CSV (with or without a header of sensor ids), Parquet (a column per sensor), NPZ (an array
[T, N] or [T, N, C]) and HDF5 as pandas writes it. Checks single values and inserts rows that the
timestamps skip. Does not check days and splits (``importing``) and does not read graphs.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.datasets.pandas_hdf5 import read_frame
from core.datasets.tables import Table, is_counting, read_csv, read_parquet, unreadable
from core.errors import ConfigError, DatasetError, UnknownNameError

CHANNEL_NAMES = {3: ("flow", "occupancy", "speed")}
"""Number of channels -> their names, in the order of the public PEMS archives."""


@dataclass(frozen=True, kw_only=True)
class ReadingsSource:
    """The file of the readings and how to read it."""

    readings: Path
    """A ``.csv``, ``.parquet``, ``.npz`` or ``.h5`` file."""
    channel: str | None = field(
        default=None,
        metadata={"help": "Channel of an NPZ array: a position, or flow, occupancy or speed."},
    )
    """Of an array [T, N, C]; positions are from 0, and names stand where there are three."""
    array: str | None = field(
        default=None,
        metadata={"help": "Array of an NPZ file; by default data, or the only one."},
    )
    missing_value: float | None = field(
        default=None, metadata={"help": "A number that marks a gap, such as 0."}
    )
    time_column: str | None = field(
        default=None,
        metadata={"help": "A column of timestamps, by name or position from 0."},
    )
    """In CSV or Parquet; it is no sensor."""
    fill_times: bool = field(
        default=False, metadata={"help": "Rows that timestamps skip become gaps."}
    )
    """Such as the hour in March."""
    header: str = field(
        default="auto",
        metadata={
            "help": "Whether a CSV of readings opens with sensor ids.",
            "metavar": "auto|yes|no",
        },
    )

    def __post_init__(self) -> None:
        """Refuse settings that do not apply to this kind of file."""
        if self.header not in {"auto", "yes", "no"}:
            raise ConfigError(f"header must be auto, yes or no, got {self.header!r}; choose one")
        if self.kind not in _READERS:
            raise ConfigError(
                f"readings must be a .csv, .parquet, .npz or .h5 file, got {self.readings}; "
                "convert it"
            )
        foreign = {
            ".csv": ("array", "channel"),
            ".parquet": ("array", "channel", "header"),
            ".npz": ("time_column", "header"),
            ".h5": ("array", "channel", "time_column", "header"),
        }[self.kind]
        for option in foreign:
            if getattr(self, option) not in {None, "auto"}:
                raise ConfigError(
                    f"--{option.replace('_', '-')} does not fit {self.kind} files; leave it out"
                )
        if self.fill_times and self.kind != ".h5" and self.time_column is None:
            raise ConfigError("--fill-times needs timestamps; name them with --time-column")

    @property
    def kind(self) -> str:
        """The file name's ending, in lower case."""
        return self.readings.suffix.lower()


@dataclass(frozen=True)
class ReadingsTable:
    """The contents of a readings file."""

    values: NDArray[np.float32]
    """[T, N], NaN where nothing was measured."""
    sensor_ids: tuple[str, ...] | None
    """One per column; None if the file names none."""
    times: pd.Series[pd.Timestamp] | None
    """One per row, if a time column was named or the file has its own; else None."""


def read_readings(source: ReadingsSource) -> ReadingsTable:
    """Read a file of readings.

    Raises:
        DatasetError: missing or unreadable, a cell that is not a number, an infinite value.
        UnknownNameError: no such array, channel or time column.
    """
    table: ReadingsTable = _READERS[source.kind](source)
    if source.fill_times:
        table = _with_skipped_rows(table, source.readings)
    if source.missing_value is not None:
        table.values[table.values == np.float32(source.missing_value)] = np.nan
    infinite = np.argwhere(np.isinf(table.values))
    if len(infinite):
        row, column = infinite[0]
        raise DatasetError(
            f"readings must be finite, but {source.readings} holds an infinite value at time step "
            f"{row}, sensor {column} (from 0); correct it, or leave it empty"
        )
    return table


def _with_skipped_rows(table: ReadingsTable, path: Path) -> ReadingsTable:
    """Return the rows at even time steps, with gaps where the timestamps skip some."""
    if table.times is None:
        raise ConfigError(f"--fill-times needs timestamps, but {path} has none; leave it out")
    stamps = table.times.to_numpy(dtype="datetime64[s]").astype(np.int64)
    steps = np.diff(stamps)
    step = max(1, int(np.median(steps))) if len(steps) else 1
    wrong = np.flatnonzero((steps <= 0) | (steps % step != 0))
    rows = (stamps - stamps[0]) // step
    if len(wrong) or rows[-1] >= 2 * len(stamps):
        row = int(wrong[0]) if len(wrong) else int(np.argmax(steps))
        raise DatasetError(
            f"timestamps must go on in steps of {step / 60:g} minutes with few left out, but "
            f"{path} has {table.times.iloc[row]} and then {table.times.iloc[row + 1]}; correct them"
        )
    values = np.full((rows[-1] + 1, table.values.shape[1]), np.nan, dtype=np.float32)
    values[rows] = table.values
    whole = stamps[0] + step * np.arange(len(values))
    return ReadingsTable(values, table.sensor_ids, pd.Series(whole.astype("datetime64[s]")))


def _read_csv(source: ReadingsSource) -> ReadingsTable:
    return _from_table(read_csv(source.readings, source.header), source)


def _read_parquet(source: ReadingsSource) -> ReadingsTable:
    return _from_table(read_parquet(source.readings), source)


def _from_table(table: Table, source: ReadingsSource) -> ReadingsTable:
    times = None
    columns = list(range(table.cells.shape[1]))
    if source.time_column is not None:
        column = _time_position(table, source.time_column)
        times = _timestamps(table, column)
        columns.remove(column)
    if not columns or not len(table.cells):
        raise DatasetError(f"{source.readings} must hold readings, but it has none; check the file")
    return ReadingsTable(_float32(table.numbers(columns)), _sensor_ids(table, columns), times)


def _sensor_ids(table: Table, columns: list[int]) -> tuple[str, ...] | None:
    ids = tuple(table.labels[column] for column in columns) if table.labels else None
    return None if ids is None else _distinct(table.path, ids)


def _distinct(path: Path, ids: tuple[str, ...]) -> tuple[str, ...] | None:
    if is_counting(ids):
        return None
    if len(set(ids)) < len(ids):
        twice = next(sensor for sensor in ids if ids.count(sensor) > 1)
        raise DatasetError(
            f"sensor ids must differ, but {path} has {twice!r} twice; rename one, or "
            "say --header no if its first row holds readings"
        )
    return ids


def _time_position(table: Table, name: str) -> int:
    labels = table.labels or ()
    if name in labels:
        return labels.index(name)
    count = table.cells.shape[1]
    if name.isdecimal() and int(name) < count:
        return int(name)
    raise UnknownNameError("time column", name, labels or map(str, range(count)))


def _timestamps(table: Table, column: int) -> pd.Series[pd.Timestamp]:
    cells = table.cells.iloc[:, column]
    if pd.api.types.is_datetime64_any_dtype(cells):
        return cells
    times = pd.to_datetime(cells.astype(str), errors="coerce", format="mixed")
    # A bare number would be parsed as a year or as nanoseconds.
    wrong = np.flatnonzero((times.isna() | pd.api.types.is_numeric_dtype(cells)).to_numpy())
    if len(wrong):
        raise DatasetError(
            f"a time column must hold timestamps such as 2012-03-01 00:05, but "
            f"{table.place(int(wrong[0]), column)} holds {str(cells.iloc[wrong[0]])!r}; "
            "name another column"
        )
    return times


def _read_h5(source: ReadingsSource) -> ReadingsTable:
    frame = read_frame(source.readings)
    ids = _distinct(source.readings, frame.columns)
    return ReadingsTable(_float32(frame.values), ids, frame.times)


def _read_npz(source: ReadingsSource) -> ReadingsTable:
    values = _load_array(source.readings, source.array)
    if values.ndim == 3:
        values = values[:, :, _channel_position(source, values.shape[2])]
    elif source.channel is not None:
        raise ConfigError(
            f"--channel needs an array [T, N, C], but the one in {source.readings} has shape "
            f"{list(values.shape)}; leave it out"
        )
    if values.ndim != 2 or not values.size:
        raise DatasetError(
            f"readings must be an array [T, N] or [T, N, C], but the one in {source.readings} has "
            f"shape {list(values.shape)}; choose another with --array"
        )
    return ReadingsTable(_float32(values), None, None)


def _load_array(path: Path, name: str | None) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DatasetError(f"{path} must be an NPZ archive of arrays; check the path")
            names = list(archive.files)
            only = names[0] if len(names) == 1 else "data"
            chosen = only if name is None else name
            if chosen not in names:
                raise UnknownNameError(f"array of {path}", chosen, names)
            values: NDArray[Any] = archive[chosen]
    except (DatasetError, UnknownNameError):
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise unreadable(path, "an NPZ archive of plain arrays", error) from error
    if values.dtype.kind not in "iuf":
        raise DatasetError(
            f"readings must be numbers, but the array {chosen!r} in {path} has type "
            f"{values.dtype}; choose another with --array"
        )
    return values


def _channel_position(source: ReadingsSource, count: int) -> int:
    names = CHANNEL_NAMES.get(count, ())
    positions = [str(index) for index in range(count)]
    if source.channel is None and count == 1:
        return 0
    if source.channel is None:
        raise ConfigError(
            f"{source.readings} holds {count} channels ({', '.join(names or positions)}); "
            "choose one with --channel"
        )
    if source.channel in names:
        return names.index(source.channel)
    if source.channel in positions:
        return int(source.channel)
    raise UnknownNameError(f"channel of {source.readings}", source.channel, [*names, *positions])


def _float32(values: NDArray[Any]) -> NDArray[np.float32]:
    # Values out of the range of float32 become infinite, and are refused as such.
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float32)


_READERS = {".csv": _read_csv, ".parquet": _read_parquet, ".npz": _read_npz, ".h5": _read_h5}
