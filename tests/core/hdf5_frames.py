"""HDF5 files as pandas and PyTables write a frame in the fixed form."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

MINUTES = 60_000_000_000


def write_frame(
    path: Path,
    values: np.ndarray,
    columns: list[str] | list[int],
    stamps: np.ndarray,
    key: str = "df",
    kind: str = "datetime64",
) -> Path:
    """Write ``values`` [T, N]; ``stamps`` count nanoseconds, or what ``kind`` says."""
    labels = np.array(columns) if isinstance(columns[0], int) else np.array(columns, dtype="S")
    with h5py.File(path, "w") as file:
        group = file.create_group(key)
        group.attrs["pandas_type"] = np.bytes_("frame")
        group.attrs["nblocks"] = np.int64(1)
        group["axis0"] = group["block0_items"] = labels
        group["axis1"] = stamps
        group["axis1"].attrs["kind"] = np.bytes_(kind)
        # PyTables keeps a frequency as a pickle; nobody is to look at it.
        group["axis1"].attrs["freq"] = np.bytes_(b"cos\nsystem\n(S'false'\ntR.")
        group["block0_values"] = values
    return path


def five_minutes(count: int, begin: str = "2012-03-01") -> np.ndarray:
    """Stamps in nanoseconds."""
    start = np.datetime64(begin, "ns").astype(np.int64)
    return start + 5 * MINUTES * np.arange(count, dtype=np.int64)
