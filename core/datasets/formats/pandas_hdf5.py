"""Read a numeric pandas frame from an HDF5 file: its values, columns and times.

This is the form of the public ``metr-la.h5`` and ``pems-bay.h5``: a group of ``pandas_type``
``frame``, with ``axis0`` (columns), ``axis1`` (rows), and ``block0_items`` and ``block0_values``
per type. PyTables stores what is neither number nor text as pickles; those are refused, never read.
Needs h5py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.datasets.formats.tables import unreadable
from core.errors import ConfigError, DatasetError


@dataclass(frozen=True)
class Frame:
    """The contents of a frame in an HDF5 file."""

    values: NDArray[np.float64]
    """[T, columns]."""
    columns: tuple[str, ...]
    times: pd.Series[pd.Timestamp] | None
    """One per row; None if the rows are not indexed by time."""


def read_frame(path: Path) -> Frame:
    """Read the one frame of a file.

    Raises:
        ConfigError: the package h5py is missing.
        DatasetError: unreadable, not exactly one frame, in pandas's table form, or of objects.
    """
    try:
        import h5py  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ConfigError(
            ".h5 files need the package h5py, which is not installed; install this project with "
            "its extra [h5], or convert the file to Parquet"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            return _frame(path, _frame_group(path, file))
    except DatasetError:
        raise
    # The file is damaged or lacks a part of a frame.
    except (OSError, KeyError, RuntimeError) as error:
        raise unreadable(path, "an HDF5 file of a pandas frame", error) from error


def _frame_group(path: Path, file: Any) -> Any:
    groups = {name: _text(file[name].attrs.get("pandas_type", "")) for name in file}
    frames = [name for name, kind in groups.items() if kind == "frame"]
    if len(frames) != 1:
        found = ", ".join(f"{name} ({kind or 'no frame'})" for name, kind in groups.items())
        raise DatasetError(
            f"{path} must hold one frame in pandas's fixed form, but it holds "
            f"{found or 'nothing'}; write it anew with DataFrame.to_hdf(…, format='fixed')"
        )
    return file[frames[0]]


def _frame(path: Path, group: Any) -> Frame:
    columns = _labels(path, group["axis0"])
    items: list[str] = []
    blocks: list[NDArray[Any]] = []
    for number in range(int(group.attrs["nblocks"])):
        items += _labels(path, group[f"block{number}_items"])
        blocks.append(_plain(path, group[f"block{number}_values"], "iuf"))
    values = np.concatenate(blocks, axis=1, dtype=np.float64)
    if sorted(items) != sorted(columns) or values.shape[1] != len(columns):
        raise DatasetError(
            f"{path} must hold a column of values per sensor, but it names {len(columns)} sensors "
            f"and holds {values.shape[1]} columns; get it again"
        )
    place = {item: index for index, item in enumerate(items)}
    in_order = values if items == columns else values[:, [place[column] for column in columns]]
    return Frame(in_order, tuple(columns), _times(path, group["axis1"]))


def _times(path: Path, axis: Any) -> pd.Series[pd.Timestamp] | None:
    kind = _text(axis.attrs.get("kind", ""))
    if not kind.startswith("datetime64"):
        return None
    # Older versions wrote nanoseconds without recording the unit.
    unit = kind if kind.endswith("]") else "datetime64[ns]"
    times = pd.Series(_plain(path, axis, "i").astype(unit))
    zone = _text(axis.attrs.get("tz", ""))
    if not zone:
        return times
    try:
        return times.dt.tz_localize("UTC").dt.tz_convert(zone)
    except (ValueError, KeyError) as error:
        raise unreadable(path, "an HDF5 file with a known time zone", error) from error


def _labels(path: Path, axis: Any) -> list[str]:
    return [_text(label) for label in _plain(path, axis, "iuS").tolist()]


def _plain(path: Path, dataset: Any, kinds: str) -> NDArray[Any]:
    if dataset.dtype.kind not in kinds:
        raise DatasetError(
            f"{path} must hold numbers and names only, but {dataset.name} is of type "
            f"{dataset.dtype}, which may hide pickles; nothing of it was read; convert the frame "
            "to numbers, or to Parquet"
        )
    values: NDArray[Any] = dataset[()]
    return values


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
