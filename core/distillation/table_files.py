"""Write large tensors piece by piece into a folder that is complete or absent, and map them back.

    FOLDER/tables.safetensors   the tensors, their key in its metadata
    FOLDER/check.json           SHA-256 of that file, and its size and time when last compared

Opening the folder compares the hash only if size or time have changed since the last comparison: a
copied, repaired or truncated file is read through once, an untouched one never. Knows nothing of
teachers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

import torch
from torch import Tensor

from core.checkpoint import load_file
from core.errors import CheckpointError, StorageError
from core.files import folder_written_aside, sha256_of_file, write_json

TABLES, CHECK = "tables.safetensors", "check.json"
DTYPES = {torch.int16: ("I16", 2), torch.float32: ("F32", 4)}


@dataclass(frozen=True)
class Layout:
    """Type and shape of a tensor to be written."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    empty: float = 0.0
    """Value of the rows that are never written."""

    @property
    def size(self) -> int:
        """Size in bytes."""
        return DTYPES[self.dtype][1] * torch.Size(self.shape).numel()


@dataclass(frozen=True)
class TableWriter:
    """Writes rows of tensors at their place in the file."""

    stream: BufferedRandom
    layouts: Mapping[str, Layout]
    starts: Mapping[str, int]

    def write(self, name: str, first_row: int, values: Tensor) -> None:
        """Write ``values`` as the rows of ``name`` from ``first_row`` on."""
        layout = self.layouts[name]
        row_bytes = layout.size // layout.shape[0]
        self.stream.seek(self.starts[name] + first_row * row_bytes)
        # Not through mapped pages: on a full disk these kill the process instead of raising.
        self.stream.write(values.to(layout.dtype).cpu().contiguous().numpy().data)


@contextmanager
def tables_written_aside(
    folder: Path, key: str, layouts: Mapping[str, Layout]
) -> Iterator[TableWriter]:
    """Yield a writer; ``folder`` appears when the block ends without an error.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    try:
        with folder_written_aside(folder) as aside:
            header, starts = _header(key, layouts)
            with (aside / TABLES).open("w+b") as stream:
                stream.write(header)
                stream.truncate(len(header) + sum(layout.size for layout in layouts.values()))
                writer = TableWriter(stream, layouts, starts)
                for name, layout in layouts.items():
                    if layout.empty != 0.0:
                        writer.write(name, 0, torch.full(layout.shape, layout.empty))
                yield writer
                stream.flush()
                os.fsync(stream.fileno())
            _note_check(aside, sha256_of_file(aside / TABLES))
    except OSError as error:
        raise StorageError(
            f"{folder} must take the teacher's targets, but {error.strerror or error}; "
            "free some room, lower the memory budget or choose another --storage"
        ) from error


def map_tables(folder: Path, key: str) -> dict[str, Tensor]:
    """Map the tensors in ``folder`` into memory: all processes of a machine share the pages.

    Raises:
        CheckpointError: the folder is missing, damaged or of another ``key``; the text says which.
    """
    path = folder / TABLES
    tensors, metadata = load_file(path)
    if metadata.get("key") != key:
        raise CheckpointError(f"{path} must be of this teacher and data, but is older")
    try:
        check = json.loads((folder / CHECK).read_bytes())
        if check["seen"] != _seen(path):
            if check["sha256"] != sha256_of_file(path):
                raise CheckpointError(f"{path} must hold what was written, but is damaged")
            _note_check(folder, check["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder / CHECK} must hold a checksum: {error}") from error
    return tensors


def _header(key: str, layouts: Mapping[str, Layout]) -> tuple[bytes, dict[str, int]]:
    """Return the start of a safetensors file, and where each tensor begins."""
    entries: dict[str, object] = {"__metadata__": {"json": json.dumps({"key": key})}}
    offsets, at = {}, 0
    for name, layout in layouts.items():
        span = [at, at + layout.size]
        dtype, shape = DTYPES[layout.dtype][0], list(layout.shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": span}
        offsets[name], at = at, span[1]
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 64)  # tensors start at addresses that vector instructions prefer
    header = len(text).to_bytes(8, "little") + text
    return header, {name: len(header) + offset for name, offset in offsets.items()}


def _note_check(folder: Path, sha256: str) -> None:
    write_json(folder / CHECK, {"sha256": sha256, "seen": _seen(folder / TABLES)})


def _seen(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]
