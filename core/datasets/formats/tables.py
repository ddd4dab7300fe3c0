"""Hold the cells of a table file, convert them to numbers, and read Parquet files as tables.

Reports errors with file, row and column. Does not parse CSV (``csv_files``) and does not interpret
the columns as readings or graphs (``readings_files`` and ``graph_files`` do).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import DatasetError

GAPS = frozenset(
    (
        *("", "na", "n/a", "<na>", "#na", "#n/a", "#n/a n/a", "nan", "-nan", "null", "none"),
        *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
    )
)
"""Texts that mark a missing number, in lower case; no other text does."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?[iI]nf(inity)?")


@dataclass(frozen=True)
class Table:
    """The cells of a file below its header."""

    path: Path
    cells: pd.DataFrame
    """Texts as the file has them (CSV), or columns of the file's own types (Parquet)."""
    labels: tuple[str, ...] | None
    """One per column; None where the file has no header."""
    rows: NDArray[np.int64]
    """Row of the file, counted from 1, that holds each row of ``cells``."""
    decimal: str = "."
    """What stands before the decimals in texts."""
    dialect: str = ""
    """How the file was parsed, for its card; empty where there was nothing to choose."""
    index: pd.Index | None = None
    """What pandas stored beside the columns, if it is more than a count of the rows."""

    def numbers(self, columns: Sequence[int]) -> NDArray[np.float64]:
        """Return the cells of ``columns`` as [rows, columns]; empty cells become NaN.

        Raises:
            DatasetError: a cell is not a number.
        """
        parsed = _Numbers(self.decimal)
        return np.stack([self._column(index, parsed) for index in columns], axis=1)

    def texts(self, column: int) -> list[str]:
        """Return the cells of ``column`` as texts without surrounding blanks."""
        return [str(cell).strip() for cell in self.cells.iloc[:, column]]

    def place(self, row: int, column: int) -> str:
        """Return the file, row and column of a cell, as a user counts them."""
        label = "" if self.labels is None else f" ({self.labels[column]!r})"
        return f"{self.path} row {self.rows[row]}, column {column + 1}{label}"

    def _column(self, index: int, parsed: _Numbers) -> NDArray[np.float64]:
        cells = self.cells.iloc[:, index]
        if pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells):
            if pd.api.types.is_complex_dtype(cells):
                raise self._no_number(0, index, cells)
            return cells.to_numpy(dtype=np.float64, na_value=np.nan)
        # Each text is parsed once: readings have few different ones.
        missing = cells.isna()
        texts = ["" if gap else str(cell) for gap, cell in zip(missing, cells, strict=True)]
        try:
            return np.fromiter(map(parsed.__getitem__, texts), np.float64, len(texts))
        except _NoNumberError as error:
            raise self._no_number(texts.index(error.args[0]), index, cells) from error

    def _no_number(self, row: int, column: int, cells: pd.Series[str]) -> DatasetError:
        return DatasetError(
            f"every cell must be a number, but {self.place(row, column)} holds "
            f"{str(cells.iloc[row])!r}; correct it, or leave it empty where nothing was "
            "measured (--time-column names a column of timestamps, --header a first row of ids)"
        )


class _NoNumberError(Exception):
    """A text, the only argument, is no number."""


class _Numbers(dict[str, float]):
    """Numbers by their text, parsed when first asked for."""

    def __init__(self, decimal: str) -> None:
        super().__init__()
        self._decimal = decimal

    def __missing__(self, text: str) -> float:
        number = number_of(text, self._decimal)
        if number is None:
            raise _NoNumberError(text)
        self[text] = number
        return number


def number_of(text: str, decimal: str = ".") -> float | None:
    """Return the number that a text holds, NaN for one of ``GAPS``, None for another text.

    Stricter than ``float``: no ``1_6``, no digits but 0 to 9, no hexadecimal.
    """
    bare = text.strip()
    if bare.lower() in GAPS:
        return float("nan")
    if decimal != ".":
        if "." in bare:
            return None
        bare = bare.replace(decimal, ".")
    return float(bare) if _NUMBER.fullmatch(bare) else None


def read_parquet(path: Path) -> Table:
    """Read a Parquet file; an index that pandas stored is kept beside the columns.

    Raises:
        DatasetError: missing or unreadable, or with labels of several levels.
    """
    try:
        cells = pd.read_parquet(path)
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        raise unreadable(path, "a Parquet file", error) from error
    if cells.columns.nlevels > 1 or cells.index.nlevels > 1:
        which = "columns" if cells.columns.nlevels > 1 else "rows"
        raise DatasetError(
            f"a table must have one row per time and one column per sensor, but the {which} of "
            f"{path} have labels of several levels; unstack them"
        )
    index = None if isinstance(cells.index, pd.RangeIndex) else cells.index
    labels = tuple(str(label) for label in cells.columns)
    return Table(path, cells, labels, np.arange(1, len(cells) + 1), index=index)


def unreadable(path: Path, kind: str, error: Exception) -> DatasetError:
    """Return the error for a file that cannot be read as a ``kind``."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    first = (reason.splitlines() or [type(error).__name__])[0]
    return DatasetError(f"{path} must be {kind}, but: {first}; check the path")
