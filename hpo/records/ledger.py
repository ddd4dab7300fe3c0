"""Record the events of a sweep, one JSON line each, and replay them to the sweep's state.

    {"event": "suggested", "trial": 7, "settings": {…}, "seed": …, "time": …}
    {"event": "epoch", "trial": 7, "epoch": 3, "metrics": {…}, "time": …}
    {"event": "ended", "trial": 7, "status": "finished", "metrics": {…}, "reason": null, …}
    {"event": "extended", "trials": 40, "time": …}
    {"event": "shared", "gpus_per_trial": 0.25, "peak": …, "total": …, "time": …}
    {"event": "dropped", "settings": {…}, "candidate": 12, "seeds": 8, "p": 0.0039, …}
    {"event": "settled", "trials": 27, "bound": 0.012, "spread": 0.015, "seeds": 3, "time": …}
    {"event": "outgrown", "trial": 7, "gpus_per_trial": 0.25, "time": …}
    {"event": "timed", "widths": [2, 2, 4, …], "latency_ms": 3.6, "machine": …}

Append-only, one writer, every line flushed to the disk. A line cut short by a crash is dropped when
the ledger is opened again; nothing relied on it. Displays and resumed sweeps replay the ledger;
Optuna's study and Ray's state are rebuilt from it and never read back. Decides nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import StorageError
from hpo.records.sweep_state import Event, SweepState


class Ledger:
    """The one writer of a ledger file."""

    def __init__(
        self, path: Path, on_change: Callable[[SweepState], None] = lambda _: None
    ) -> None:
        """Replay the file, cut off a broken last line, and open it for appending.

        Args:
            path: the ledger file; made if missing.
            on_change: called with the state after every event.
        """
        self._on_change = on_change
        self.on_written: Callable[[str, bytes], None] = lambda *_: None
        """Called with the kind and the line of every event, once it is on the disk."""
        self.state, whole_bytes = _replay(path)
        # No buffer: what could not be written must not be tried again when the file is closed.
        self._stream = path.open("ab", buffering=0)
        if self._stream.tell() > whole_bytes:
            self._stream.truncate(whole_bytes)

    def append(self, event: str, **facts: Any) -> None:
        """Apply one event to ``state`` and write it to the disk before anybody is notified of it.

        Raises:
            StorageError: it contradicts the events before; nothing is written.
            OSError: writing failed; nothing is written.
            Exception: ``on_written`` failed; the event is on the disk.
        """
        line = json.dumps({"event": event, **facts, "time": now()}, allow_nan=False)
        self.state.apply(json.loads(line))
        self._write(line.encode() + b"\n")
        self.on_written(event, line.encode() + b"\n")
        self._on_change(self.state)

    def _write(self, line: bytes) -> None:
        whole_bytes = os.fstat(self._stream.fileno()).st_size
        try:
            left = line
            while left:  # a disk that fills up takes a part
                left = left[self._stream.write(left) or 0 :]
            os.fsync(self._stream.fileno())
        except OSError:
            self._stream.truncate(whole_bytes)
            raise

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def read_ledger(path: Path) -> SweepState:
    """Return the state after all events of a ledger file, also while another process writes it."""
    return _replay(path)[0]


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of a ledger file that was read before, in their order."""
    with path.open("rb") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                yield json.loads(line)


def now() -> str:
    """Return the present time, ISO, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _replay(path: Path) -> tuple[SweepState, int]:
    """Return the state, and the number of bytes of the whole lines."""
    state = SweepState()
    content = _content(path)
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            state.apply(json.loads(line))
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StorageError(
                f"line {number} of {path} must be JSON, got {line[:60]!r}; "
                "restore the ledger from a copy"
            ) from error
        except StorageError as error:
            raise StorageError(f"line {number} of {path}: {error}") from error
    return state, len(whole)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise StorageError(
            f"{path} must be a ledger that can be read, but {error.strerror}; restore it from a "
            "copy, or mend its permissions"
        ) from error
