"""Keep the records of an ended sweep in one Parquet file too, which is quick to read.

STORAGE/NAME/records.parquet has a row per trial and every column that any record has, for readers
of many trials and for other tools. The records of single trials stay the truth: a row counts only
while the size and time of its record's file are those it was read at, so whatever is added, changed
or damaged later is read from its own file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from core.files import write_bytes

Row = dict[str, Any]
"""The columns of one record and their values."""
_FILE, _BYTES, _CHANGED = SEEN = ("file", "file_bytes", "file_changed_ns")
"""Columns that tell which file a row was read from, and in which state."""
TEXTS_OR_NONE: Final = ("reason", "teacher_fingerprint", "student", "loss", "base")
"""Typed for Arrow: a column of nothing but None would have a type that joins with no other's."""


def write_table(path: Path, rows: Mapping[Path, Row]) -> None:
    """Write the rows of records by their files; nothing where Arrow has no type for a column.

    Args:
        path: the table.
        rows: what each file holds.
    """
    whole = [{**_seen(file), **row} for file, row in rows.items()]
    names = dict.fromkeys(name for row in whole for name in row)
    columns = {}
    for name in names:
        values = [row.get(name) for row in whole]
        kinds = {type(value) for value in values if value is not None}
        if len(kinds) > 1:  # whole numbers would come back as others
            return
        columns[name] = pa.array(values, pa.string() if name in TEXTS_OR_NONE else None)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, write_page_checksum=True)
    write_bytes(path, sink.getvalue().to_pybytes())


def read_table(path: Path, files: Iterable[Path]) -> dict[Path, Row]:
    """Return the rows of those ``files`` that are as they were; none without a whole table."""
    if not path.is_file():
        return {}
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as table:
            rows = {row[_FILE]: row for row in table.read().to_pylist()}
        return {
            file: _without_gaps(rows[file.name])
            for file in files
            if file.name in rows and _seen(file).items() <= rows[file.name].items()
        }
    except (OSError, pa.ArrowException, ValueError, KeyError):
        return {}  # whatever it held is in the records


def _seen(file: Path) -> Row:
    state = file.stat()
    return {_FILE: file.name, _BYTES: state.st_size, _CHANGED: state.st_mtime_ns}


def _without_gaps(row: Row) -> Row:
    """Leave out the columns that this row's record lacks."""
    return {
        name: value
        for name, value in row.items()
        if name not in SEEN and (value is not None or name in TEXTS_OR_NONE)
    }
