"""Read a user's readings file as float32 readings [T, N] with NaN for gaps.

Formats: CSV (with or without a header of sensor ids), Parquet (a column per sensor), NPZ (an array
[T, N] or [T, N, C]) and HDF5 as pandas writes it. All entrances read readings here: it checks
single values and the order of times, and inserts rows that the timestamps skip. Does not check days
and splits (``importing``) and does not read graphs.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.datasets.formats.csv_files import read_csv
from core.datasets.formats.pandas_hdf5 import read_frame
from core.datasets.formats.row_order import rows_in_time, shown
from core.datasets.formats.tables import Table, read_parquet, unreadable
from core.datasets.formats.times import Clock, read_times
from core.errors import ConfigError, DatasetError, UnknownNameError

CHANNEL_NAMES = {3: ("flow", "occupancy", "speed")}
"""Number of channels -> their names, in the order of the public PEMS archives."""
_UNNAMED = re.compile(r"|Unnamed: [0-9]+")
"""What pandas calls an index that it wrote as a column."""


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
    """In CSV or Parquet; it is no sensor. In Parquet one of a type of times need not be named."""
    fill_times: bool = field(
        default=False, metadata={"help": "Rows that timestamps skip become gaps."}
    )
    """Such as the hour in March; of the hour that comes twice in autumn the first half counts."""
    sort_times: bool = field(
        default=False, metadata={"help": "Rows in another order of time are put in order."}
    )
    day_first: bool | None = field(
        default=None,
        metadata={
            "help": "Whether 01/02/2016 is the first of February, where no day above 12 tells.",
            "flag": "--day-first/--no-day-first",
        },
    )
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
        if self.kind in {".csv", ".npz"} and self.time_column is None:
            for option in ("fill_times", "sort_times"):
                if getattr(self, option):
                    raise ConfigError(
                        f"--{option.replace('_', '-')} needs timestamps; name them with "
                        "--time-column"
                    )

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
    """One per row, local, if a time column was named or the file has its own; else None."""
    notes: tuple[str, ...] = ()
    """How the file was read, where there was a choice."""


@dataclass(frozen=True)
class _Parsed:
    """The contents of a file before rows are put in order."""

    values: NDArray[np.float32]
    ids: tuple[str, ...] | None
    clock: Clock | None
    rows: NDArray[np.int64]
    """Where each row stands in the file."""
    notes: tuple[str, ...] = ()


def read_readings(source: ReadingsSource) -> ReadingsTable:
    """Read a file of readings, its rows in order of time.

    Raises:
        DatasetError: missing or unreadable, a cell that is not a number, an infinite value, rows
            that do not follow each other in time.
        UnknownNameError: no such array, channel or time column.
        ConfigError: settings that do not fit the file.
    """
    parsed: _Parsed = _READERS[source.kind](source)
    table = _in_time(parsed, source)
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


def without_empty_days(table: ReadingsTable, steps_per_day: int) -> ReadingsTable:
    """Return the rows without days that filled times alone consist of, such as weekends."""
    if table.times is None or len(table.values) % steps_per_day:
        return table
    present = ~np.isnan(table.values.reshape(-1, steps_per_day * table.values.shape[1]))
    kept = np.repeat(present.any(axis=1), steps_per_day)
    times = table.times[kept].reset_index(drop=True)
    return replace(table, values=table.values[kept], times=times)


def _in_time(parsed: _Parsed, source: ReadingsSource) -> ReadingsTable:
    """Return the rows in order of time, if they have times."""
    if parsed.clock is None:
        for option in ("fill_times", "sort_times"):
            if getattr(source, option):
                raise ConfigError(
                    f"--{option.replace('_', '-')} needs timestamps, but {source.readings} has "
                    "none; leave it out"
                )
        return ReadingsTable(parsed.values, parsed.ids, None, parsed.notes)
    kept, left_out = rows_in_time(
        source.readings,
        parsed.clock,
        parsed.rows,
        sort=source.sort_times,
        once=source.fill_times,
    )
    notes = parsed.notes
    if left_out:
        notes += (f"{left_out} rows of an hour that the clock repeats left out",)
    times: Any = pd.Series(parsed.clock.times[kept])
    return ReadingsTable(parsed.values[kept], parsed.ids, times, notes)


def _with_skipped_rows(table: ReadingsTable, path: Path) -> ReadingsTable:
    """Return the rows at even time steps, with gaps where the timestamps skip some."""
    assert table.times is not None
    times = table.times.to_numpy(dtype="datetime64[us]")
    stamps = times.astype(np.int64)
    steps = np.diff(stamps)
    step = max(1, int(np.median(steps))) if len(steps) else 1
    wrong = np.flatnonzero(steps % step != 0)
    rows = (stamps - stamps[0]) // step
    if len(wrong) or rows[-1] >= 2 * len(stamps):
        row = int(wrong[0]) if len(wrong) else int(np.argmax(steps))
        raise DatasetError(
            f"timestamps must go on in steps of {step / 6e7:g} minutes with few left out, but "
            f"{path} has {shown(times[row])} and then {shown(times[row + 1])}; correct them"
        )
    values = np.full((rows[-1] + 1, table.values.shape[1]), np.nan, dtype=np.float32)
    values[rows] = table.values
    whole = pd.Series((stamps[0] + step * np.arange(len(values))).astype("datetime64[us]"))
    return replace(table, values=values, times=whole)


def _read_csv(source: ReadingsSource) -> _Parsed:
    known = () if source.time_column is None else (source.time_column,)
    return _from_table(read_csv(source.readings, source.header, known=known, gaps=True), source)


def _read_parquet(source: ReadingsSource) -> _Parsed:
    return _from_table(read_parquet(source.readings), source)


def _from_table(table: Table, source: ReadingsSource) -> _Parsed:
    columns = list(range(table.cells.shape[1]))
    notes = [f"readings: {table.dialect}"] if table.dialect else []
    clock, position = _clock(table, source)
    if position is not None:
        columns.remove(position)
    for column in list(columns):
        if _is_row_count(table, column):
            columns.remove(column)
            notes.append(f"column {column + 1} without a name counts rows and is no sensor")
    if not columns or not len(table.cells):
        raise DatasetError(f"{source.readings} must hold readings, but it has none; check the file")
    ids = tuple(table.labels[column] for column in columns) if table.labels else None
    values = _float32(table.numbers(columns))
    return _Parsed(values, _distinct(table.path, ids), clock, table.rows, tuple(notes))


def _is_row_count(table: Table, column: int) -> bool:
    """Return whether a column without a name counts rows; refuse any other such column."""
    label = None if table.labels is None else table.labels[column]
    if label is None or not _UNNAMED.fullmatch(label):
        return False
    texts = table.texts(column)
    if any(texts == list(map(str, range(start, len(texts) + start))) for start in (0, 1)):
        return True
    raise DatasetError(
        f"every sensor must have an id, but column {column + 1} of {table.path} is named {label!r} "
        f"and holds {texts[0] if texts else ''!r}; name it, leave it out, or say --time-column "
        f"{column} if it holds times"
    )


def _clock(table: Table, source: ReadingsSource) -> tuple[Clock | None, int | None]:
    """Return the times of the rows, and the column that holds them, if one does."""
    if source.time_column is not None:
        if table.index is not None and source.time_column == str(table.index.name):
            return _of_index(table, source), None
        column = _time_position(table, source.time_column)
    elif table.index is not None and isinstance(table.index, pd.DatetimeIndex):
        return _of_index(table, source), None
    else:
        typed = [
            column
            for column in range(table.cells.shape[1])
            if pd.api.types.is_datetime64_any_dtype(table.cells.iloc[:, column])
        ]
        if not typed:
            return None, None
        if len(typed) > 1:
            names = ", ".join(repr(str(table.cells.columns[column])) for column in typed)
            raise ConfigError(
                f"a file of readings must have one column of times, but {source.readings} has "
                f"{names}; keep one"
            )
        column = typed[0]
    cells = table.cells.iloc[:, column]
    return read_times(cells, source.day_first, lambda row: table.place(row, column)), column


def _of_index(table: Table, source: ReadingsSource) -> Clock:
    assert table.index is not None
    cells = table.index.to_series().reset_index(drop=True)
    return read_times(
        cells, source.day_first, lambda row: f"{table.path} row {table.rows[row]} of the index"
    )


def _distinct(path: Path, ids: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if ids is not None and len(set(ids)) < len(ids):
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
    if re.fullmatch("[0-9]+", name) and int(name) < count:
        return int(name)
    raise UnknownNameError("time column", name, labels or map(str, range(count)))


def _read_h5(source: ReadingsSource) -> _Parsed:
    frame = read_frame(source.readings)
    ids = _distinct(source.readings, frame.columns)
    clock = None
    if frame.times is not None:
        clock = read_times(frame.times, None, lambda row: f"{source.readings} row {row + 1}")
    rows = np.arange(1, len(frame.values) + 1)
    return _Parsed(_float32(frame.values), ids, clock, rows)


def _read_npz(source: ReadingsSource) -> _Parsed:
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
    return _Parsed(_float32(values), None, None, np.arange(len(values)))


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
