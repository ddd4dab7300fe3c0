"""Read CSV and Parquet files as numbers with column labels.

Detects whether a CSV file has a header, and reports errors with file, row and column. Does not
interpret the columns as readings or graphs (``readings_files`` and ``graph_files`` do).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import DatasetError

_WHOLE = re.compile(r"\d+")


@dataclass(frozen=True)
class Table:
    """The cells of a file below its header."""

    path: Path
    cells: pd.DataFrame
    labels: tuple[str, ...] | None
    """One per column; None where the file has no header."""
    first_row: int
    """Row of the file, counted from 1, that holds the first cells."""

    def numbers(self, columns: Sequence[int]) -> NDArray[np.float64]:
        """Return the cells of ``columns`` as [rows, columns]; empty cells become NaN.

        Raises:
            DatasetError: a cell is not a number.
        """
        return np.stack([self._column(index) for index in columns], axis=1)

    def place(self, row: int, column: int) -> str:
        """Return the file, row and column of a cell, as a user counts them."""
        label = "" if self.labels is None else f" ({self.labels[column]!r})"
        return f"{self.path} row {row + self.first_row}, column {column + 1}{label}"

    def _column(self, index: int) -> NDArray[np.float64]:
        cells = self.cells.iloc[:, index]
        if pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells):
            return cells.to_numpy(dtype=np.float64, na_value=np.nan)
        # Text and dates first: to_numeric would read dates as nanoseconds, truth as 0 and 1.
        numbers = pd.to_numeric(cells.astype(str), errors="coerce")
        wrong = np.flatnonzero((numbers.isna() & cells.notna()).to_numpy(dtype=bool))
        if len(wrong):
            raise DatasetError(
                f"every cell must be a number, but {self.place(int(wrong[0]), index)} holds "
                f"{str(cells.iloc[wrong[0]])!r}; correct it, or leave it empty where nothing was "
                "measured (--time-column names a column of timestamps, --header a first row of ids)"
            )
        return numbers.to_numpy(dtype=np.float64, na_value=np.nan)


def read_csv(path: Path, header: str = "auto", text_columns: int = 0) -> Table:
    """Read a comma-separated file; its first ``text_columns`` columns stay text.

    ``header`` is ``yes``, ``no`` or ``auto``. With ``auto`` the first row is a header when it looks
    like ids: none of its cells is a number, or those that are numbers are whole, written without
    a point, all different, and either count up from 0 or 1 or lie outside the range of all values
    below.

    Raises:
        DatasetError: missing, unreadable, empty or ragged.
    """
    first = _first_cells(path)
    named = header == "yes" or (header == "auto" and _reads_like_ids(path, first))
    labels = tuple(cell.strip() for cell in first) if named else None
    return Table(path, _cells(path, int(named), text_columns), labels, 1 + int(named))


def read_parquet(path: Path) -> Table:
    """Read a Parquet file; a named index counts as a column.

    Raises:
        DatasetError: missing or unreadable.
    """
    try:
        cells = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, "a Parquet file", error) from error
    if not isinstance(cells.index, pd.RangeIndex):
        cells = cells.reset_index()
    return Table(path, cells, tuple(str(label) for label in cells.columns), 1)


def unreadable(path: Path, kind: str, error: Exception) -> DatasetError:
    """Return the error for a file that cannot be read as a ``kind``."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return DatasetError(f"{path} must be {kind}, but: {reason.splitlines()[0]}; check the path")


def _first_cells(path: Path) -> list[str]:
    """Return the cells of the first row, after checking that all rows have as many."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = next(csv.reader(stream), [])
            for number, line in enumerate(stream, start=2):
                if line.strip() and line.count(",") != len(first) - 1:
                    raise DatasetError(
                        f"every row must be as long as the first, but {path} row {number} has "
                        f"{line.count(',') + 1} cells instead of {len(first)}; correct the file"
                    )
    except (OSError, UnicodeError, csv.Error) as error:
        raise unreadable(path, "a CSV file", error) from error
    return first


def _cells(path: Path, skip: int, text_columns: int = 0) -> pd.DataFrame:
    options: dict[str, Any] = {"header": None, "encoding": "utf-8-sig", "low_memory": False}
    types: dict[Any, Any] = dict.fromkeys(range(text_columns), str)
    try:
        cells: pd.DataFrame = pd.read_csv(
            path, skiprows=skip, skipinitialspace=True, dtype=types, **options
        )
    except (OSError, ValueError) as error:
        raise unreadable(path, "a CSV file", error) from error
    return cells


def _reads_like_ids(path: Path, cells: list[str]) -> bool:
    words = [cell.strip() for cell in cells if cell.strip()]
    numbers = [word for word in words if _is_number(word)]
    if not numbers:
        return bool(words)
    if len(set(numbers)) < len(numbers) or not all(map(_WHOLE.fullmatch, numbers)):
        return False
    ids = np.array(numbers, dtype=np.float64)
    if len(ids) > 1 and is_counting(numbers):
        return True
    below = _cells(path, skip=1).select_dtypes("number").to_numpy(dtype=np.float64)
    return bool(np.all((ids < np.nanmin(below)) | (ids > np.nanmax(below)))) if below.size else True


def is_counting(labels: list[str] | tuple[str, ...]) -> bool:
    """Return whether ``labels`` are 0, 1, 2, … or 1, 2, 3, …: positions, not ids."""
    return list(labels) in (
        [str(index + start) for index in range(len(labels))] for start in (0, 1)
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
