"""Parse CSV files of any dialect that tools write: readings, edge lists and matrices alike.

Finds out what separates cells (comma, semicolon, tab), whether decimals follow a point or a comma,
and whether the first row is a header. Cells stay the texts that the file has. Does not interpret
the columns.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from core.datasets.formats.tables import GAPS, Table, number_of, unreadable
from core.errors import DatasetError

SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas"}
"""What may separate cells -> its name; where two fit, the earlier one does."""
TIME_WORDS = frozenset({"time", "times", "timestamp", "date", "datetime", "date_time", "ts"})
"""Labels, in lower case, that only a header holds."""
_SAMPLE = 200
"""Rows that the separator is chosen by."""
_WHOLE = re.compile(r"[0-9]+")
_DECIMALS = {
    decimal: re.compile(rf"[+-]?[0-9]*{re.escape(decimal)}[0-9]+(?:[eE][+-]?[0-9]+)?")
    for decimal in ".,"
}
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}")

Rows = list[list[str]]


def read_csv(
    path: Path, header: str = "auto", *, known: Sequence[str] = (), gaps: bool = False
) -> Table:
    """Read a CSV file.

    ``header`` is ``yes``, ``no`` or ``auto``. With ``auto`` the first row is a header when it looks
    like ids (``_reads_like_ids``).

    Args:
        path: the file.
        header: see above.
        known: labels that prove a header, such as the name of the column of times.
        gaps: whether a blank line between others is a row without values; else it is left out.
            Blank lines at the end, and before a header, are nothing.

    Raises:
        DatasetError: missing, unreadable, empty or ragged, or numbers that can be read two ways.
    """
    text = _text(path)
    separator = _separator(text)
    rows, lines = _parse(path, text, separator)
    first = next((index for index, row in enumerate(rows) if row), None)
    if first is None:
        raise DatasetError(f"{path} must be a CSV file, but it is empty; check the path")
    _check_lengths(path, rows, lines, len(rows[first]))
    decimal = _decimal(path, rows, separator)
    named = header == "yes" or (
        header == "auto" and _reads_like_ids(rows[first], rows[first + 1 :], decimal, known)
    )
    labels = tuple(cell.strip() for cell in rows[first]) if named else None
    start = first + 1 if named else 0
    kept = [index for index in range(start, len(rows)) if gaps or rows[index]]
    if gaps:
        _check_doubled(path, rows[start:])
    width = len(rows[first])
    cells = np.array([rows[index] or [""] * width for index in kept], dtype=object)
    return Table(
        path,
        pd.DataFrame(cells.reshape(len(kept), width), dtype=object),
        labels,
        np.array([lines[index] for index in kept], dtype=np.int64),
        decimal,
        f"{SEPARATORS[separator]}, decimal {'points' if decimal == '.' else 'commas'}",
    )


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise unreadable(path, "a CSV file in UTF-8", error) from error
    if text[:4].lower() == "sep=":
        raise DatasetError(
            f"{path} must open with a header or with values, but its first line is for Excel, "
            f"{text.splitlines()[0]!r}; take it out"
        )
    return text


def _parse(path: Path, text: str, separator: str) -> tuple[Rows, list[int]]:
    """Return all rows up to the last that is not blank, blank ones empty, and their lines."""
    raw = _Lines(text)
    reader = csv.reader(raw, delimiter=separator, skipinitialspace=True, strict=True)
    same: dict[str, str] = {}
    rows: Rows = []
    lines: list[int] = []
    begun = 1
    try:
        for row in reader:
            # A quoted empty cell is a cell; only what the line itself holds tells it from none.
            blank = len(row) <= 1 and not raw.last.strip(" \r\n")
            rows.append([] if blank else [same.setdefault(cell, cell) for cell in row])
            lines.append(begun)
            begun = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(
            f"{path} must be a CSV file, but row {begun}: {error}; correct it"
        ) from error
    while rows and not rows[-1]:
        rows.pop()
        lines.pop()
    return rows, lines


class _Lines:
    """Iterates over the lines of a text and knows the last one given."""

    def __init__(self, text: str) -> None:
        self._stream = io.StringIO(text, newline="")
        self.last = ""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        self.last = next(self._stream)
        return self.last


def _separator(text: str) -> str:
    """Return what separates the cells: what gives every row the same number of several cells."""
    best, most = ",", 0
    for separator in SEPARATORS:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True
        )
        try:
            widths = [len(row) for row in islice(reader, _SAMPLE) if any(row)]
        except csv.Error:
            continue
        if widths and min(widths) == max(widths) > 1:
            return separator
        several = sum(width > 1 for width in widths)
        if several > most:
            best, most = separator, several
    return best


def _check_lengths(path: Path, rows: Rows, lines: list[int], width: int) -> None:
    for row, line in zip(rows, lines, strict=True):
        if row and len(row) != width:
            raise DatasetError(
                f"every row must be as long as the first, but {path} row {line} has "
                f"{len(row)} cells instead of {width}; correct the file"
            )


def _check_doubled(path: Path, rows: Rows) -> None:
    """Refuse what a program that writes line ends twice makes: it is not gaps."""
    if len(rows) > 2 and all(bool(row) != bool(index % 2) for index, row in enumerate(rows)):
        raise DatasetError(
            f"a blank line between others is a gap, but every second line of {path} is blank, as "
            "where line ends were written twice; take the blank lines out"
        )


def _decimal(path: Path, rows: Rows, separator: str) -> str:
    """Return what stands before decimals: between commas always a point, else what there is."""
    if separator == ",":
        return "."
    cells = {cell.strip() for row in rows for cell in row}
    found = {
        mark: sorted(cell for cell in cells if form.fullmatch(cell))
        for mark, form in _DECIMALS.items()
    }
    if found["."] and found[","]:
        raise DatasetError(
            f"decimals must be written in one way, but {path} holds {found['.'][0]!r} and "
            f"{found[','][0]!r}; write points everywhere, and no separator of thousands"
        )
    written = found["."] or found[","]
    whole = any(_WHOLE.fullmatch(cell) for row in rows[1:] for cell in row)
    if written and whole and all(map(_THOUSANDS.fullmatch, written)):
        raise DatasetError(
            f"numbers must have one meaning, but {written[0]!r} in {path} may be thousands or have "
            "three decimals; write no separator of thousands, and decimals after points and "
            "between commas"
        )
    return "," if found[","] else "."


def _reads_like_ids(first: list[str], below: Rows, decimal: str, known: Sequence[str]) -> bool:
    """Return whether a first row is a header.

    It is where it holds one of the ``known`` labels or of ``TIME_WORDS``, or none of its cells is a
    number or a gap, or those that are numbers are whole, written without a point, all different,
    and either count from 0 or 1, in any order, or lie outside the range of all values below.
    """
    labels = [cell.strip() for cell in first]
    if any(label in known or label.lower() in TIME_WORDS for label in labels):
        return True
    words = [label for label in labels if label.lower() not in GAPS]
    numbers = [label for label in words if number_of(label, decimal) is not None]
    if not numbers:
        return bool(words)
    if len(set(numbers)) < len(numbers) or not all(map(_WHOLE.fullmatch, numbers)):
        return False
    ids = sorted(map(int, numbers))
    if len(ids) > 1 and ids in (list(range(len(ids))), list(range(1, len(ids) + 1))):
        return True
    columns = [column for column, label in enumerate(labels) if label in set(numbers)]
    values = _values(below, columns, decimal)
    if not values:
        return True
    lowest, highest = min(values), max(values)
    return all(not lowest <= number <= highest for number in ids)


def _values(rows: Rows, columns: Sequence[int], decimal: str) -> list[float]:
    """Return the different numbers in some columns."""
    texts = {row[column] for row in rows if row for column in columns}
    parsed = (number_of(text, decimal) for text in texts)
    return [number for number in parsed if number is not None and not math.isnan(number)]
