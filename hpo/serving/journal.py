"""Keep the rows that a service has received in a file, from which it starts again.

A header and a line of JSON per row, readings as base64 of little-endian float32. A row is in the
file and flushed to the disk before it is answered. A line that a crash cut short is cut off at the
next start; whoever sent it had no answer. The file is rewritten, aside and renamed, when it holds
twice the rows that are kept. Does not know the student: another of the same sensors goes on with
the same file.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

import numpy as np

from core.datasets.dataset import DatasetCard
from core.errors import StorageError
from core.export.stream_rows import Row
from core.files import file_written_aside, writable_folder

_VERSION = 1
_FILE = "rows.jsonl"


@dataclass(frozen=True)
class TimedRow:
    """One row of readings."""

    time: datetime
    """Local, when it was measured."""
    reading: Row
    """[N], NaN where nothing was measured."""


class Journal:
    """The newest rows of a stream, in memory and on the disk."""

    def __init__(self, folder: Path, card: DatasetCard, kept: int) -> None:
        """Open or begin the journal in ``folder``, and lock it against other services.

        Args:
            folder: made where it does not exist.
            card: of the data that the student was trained on.
            kept: rows that a service needs to start again; older ones may be dropped.

        Raises:
            StorageError: the folder cannot be written, is in use, or holds rows of other sensors.
        """
        self._path, self._interval = writable_folder(folder) / _FILE, card.interval_minutes
        self._header = {
            "version": _VERSION,
            "interval_minutes": card.interval_minutes,
            "sensors": list(card.sensor_ids),
        }
        self._lock = _locked(folder)
        self._carried: Row = np.full(card.num_sensors, np.nan, dtype=np.float32)
        self.rows: deque[TimedRow] = deque(maxlen=kept)
        self._lines = 0
        if self._path.exists():
            self._read()
        else:
            self._rewrite()
        self._stream = self._path.open("ab", buffering=0)

    def replayed(self) -> Iterator[TimedRow]:
        """Yield the rows to start from, before them one of each sensor's last reading, if any."""
        if self.rows and not np.isnan(self._carried).all():
            first = self.rows[0].time - timedelta(minutes=self._interval)
            yield TimedRow(first, self._carried)
        yield from self.rows

    def append(self, rows: Sequence[TimedRow]) -> None:
        """Write rows and flush them to the disk, all or none.

        Raises:
            OSError: the disk is full or broken.
        """
        end = self._stream.seek(0, os.SEEK_END)
        content = b"".join(map(_line, rows))
        try:
            _write_whole(self._stream, content)
        except OSError:
            self._stream.truncate(end)
            raise
        for row in rows:
            self._remember(row)
        self._lines += len(rows)
        if self._lines > 2 * (self.rows.maxlen or 0):
            self._rewrite()
            self._stream.close()
            self._stream = self._path.open("ab", buffering=0)

    def close(self) -> None:
        """Close the file and give the lock back."""
        self._stream.close()
        self._lock.close()

    def _remember(self, row: TimedRow) -> None:
        """Keep a row; of one that is dropped for it only the sensors' last readings stay."""
        if len(self.rows) == self.rows.maxlen:
            oldest = self.rows[0]
            self._carried = np.where(np.isnan(oldest.reading), self._carried, oldest.reading)
            following = self.rows[1].time if len(self.rows) > 1 else row.time
            if following - oldest.time > timedelta(minutes=self._interval):
                # A stream begins anew after a gap and carries nothing over it.
                self._carried = np.full_like(self._carried, np.nan)
        self.rows.append(row)

    def _rewrite(self) -> None:
        with file_written_aside(self._path) as stream:
            stream.write((json.dumps(self._header) + "\n").encode())
            stream.write(_dumped({"carried": _text(self._carried)}))
            for row in self.rows:
                stream.write(_line(row))
        self._lines = len(self.rows)

    def _read(self) -> None:
        """Read the file, and cut off what follows its last whole line."""
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            header, carried, *lines = map(json.loads, whole.splitlines())
            self._check_header(header)
            self._carried = self._row(carried["carried"])
            for line in lines:
                row = TimedRow(datetime.fromisoformat(line["time"]), self._row(line["readings"]))
                self._remember(row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(
                f"{self._path} must hold the rows of a service, but is damaged: {error}; delete it "
                "to begin anew"
            ) from error
        self._lines = len(lines)
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))

    def _check_header(self, header: dict[str, Any]) -> None:
        differing = [name for name, value in self._header.items() if header.get(name) != value]
        if differing:
            raise StorageError(
                f"{self._path} holds rows with another {differing[0]} than the export; give "
                "another folder with --state"
            )

    def _row(self, text: str) -> Row:
        values = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
        if len(values) != len(self._carried):
            raise ValueError(f"a row holds {len(values)} readings")
        return values.astype(np.float32)


def _locked(folder: Path) -> IO[str]:
    stream = (folder / "in-use.lock").open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.close()
        raise StorageError(
            f"{folder} must belong to one service, but another one has it open; end that one, or "
            "give another folder with --state"
        ) from error
    return stream


def _write_whole(stream: Any, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[stream.write(view) :]
    os.fsync(stream.fileno())


def _line(row: TimedRow) -> bytes:
    return _dumped({"time": row.time.isoformat(), "readings": _text(row.reading)})


def _dumped(value: dict[str, str]) -> bytes:
    return (json.dumps(value) + "\n").encode()


def _text(reading: Row) -> str:
    return base64.b64encode(reading.astype("<f4").tobytes()).decode()
