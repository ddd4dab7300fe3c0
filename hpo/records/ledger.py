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
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from core.errors import StorageError

Status = Literal["running", "finished", "pruned", "failed", "infeasible"]
ENDED_STATUSES: tuple[Status, ...] = ("finished", "pruned", "failed", "infeasible")
Event = dict[str, Any]
OUT_OF_MEMORY = "out_of_memory"
"""What a worker reports as ``status`` where its GPU had too little memory; no status of a trial,
which is tried again with a larger share or has failed."""


@dataclass
class Trial:
    """One configuration and its results so far."""

    number: int
    settings: dict[str, Any]
    seed: int
    suggested: str
    """ISO time."""
    status: Status = "running"
    """``running`` also after a crash: a resumed sweep begins with these trials."""
    history: dict[int, dict[str, float]] = field(default_factory=dict)
    """Metrics by epoch."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Once ended: those of the best epoch."""
    sizes: dict[str, float] = field(default_factory=dict)
    """Once ended, where known: ``parameters`` and ``flops`` of its student, and ``latency_ms``
    where the sweep asks for it."""
    reason: str | None = None
    """Why it failed, or is infeasible and was never trained."""

    def values(self, objectives: Sequence[str]) -> list[float]:
        """Return its objectives, once finished."""
        known = {**self.sizes, **self.metrics}
        return [float(known[name]) for name in objectives]


@dataclass(frozen=True)
class Drop:
    """A configuration that a confirmation's race gave up, and why."""

    settings: dict[str, Any]
    candidate: int
    """The sweep's trial that found it."""
    against: int
    """That of the configuration which was the best then."""
    seeds: int
    """After how many."""
    p: float
    """Of the test that it is worse, below ``level``."""
    level: float


@dataclass(frozen=True)
class Settled:
    """Why a search ended before it had all its trials."""

    trials: int
    """How many had begun."""
    bound: float
    """How much lower than its best trial's the error could still become, at most."""
    spread: float
    """Standard deviation over seeds of one configuration's error."""
    seeds: int
    """From how many runs."""


@dataclass
class SweepState:
    """All trials of a sweep, by number, after the events so far."""

    trials: dict[int, Trial] = field(default_factory=dict)
    extended_to: int | None = None
    """Number of trials, where more were asked for after the sweep began."""
    gpu_share: dict[str, float] | None = None
    """Where it was measured: ``gpus_per_trial``, and in bytes the ``peak`` of one trial and the
    ``total`` of a GPU."""
    settled: Settled | None = None
    """None also where it went on because more trials were asked for."""
    went_on: bool = False
    """Whether it had settled before more trials were asked for: it does not do so again."""
    drops: list[Drop] = field(default_factory=list)
    """Of a confirmation."""
    outgrown: dict[int, float] = field(default_factory=dict)
    """By unfinished trial, the share of a GPU whose memory it ran out of."""
    latencies: dict[tuple[int, ...], float] = field(default_factory=dict)
    """Milliseconds of a student by the numbers of filters in its layers."""

    def apply(self, event: Event) -> None:
        """Apply one event, or refuse it and leave the state unchanged.

        Raises:
            StorageError: it contradicts the events before.
        """
        try:
            _APPLY[event["event"]](self, event)
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(
                f"the ledger holds an event that does not fit the ones before: {event}; "
                "restore the ledger from a copy"
            ) from error

    def with_status(self, *statuses: Status) -> list[Trial]:
        """Return the trials in one of these states, in order."""
        return [trial for trial in self.trials.values() if trial.status in statuses]

    @property
    def fitting_share(self) -> float:
        """The least share of a GPU that is left to try for all unfinished trials; 0 where any is.

        Twice what the largest of them ran out of memory with, at most a whole GPU.
        """
        return min(1.0, 2 * max(self.outgrown.values(), default=0.0))

    @property
    def num_ended(self) -> int:
        """Number of trials that were run and have ended, well or badly."""
        return self.num_begun - len(self.with_status("running"))

    @property
    def num_begun(self) -> int:
        """Number of trials but the infeasible ones, which cost nothing and do not count."""
        return len(self.trials) - len(self.with_status("infeasible"))

    def best(self, objective: str) -> Trial | None:
        """Return the finished trial with the lowest ``objective``."""
        finished = self.with_status("finished")
        return min(finished, key=lambda trial: trial.metrics[objective], default=None)


def _suggested(state: SweepState, event: Event) -> None:
    number = event["trial"]
    _require(number == len(state.trials))
    state.trials[number] = Trial(number, event["settings"], event["seed"], event["time"])


def _epoch(state: SweepState, event: Event) -> None:
    trial = state.trials[event["trial"]]
    _require(trial.status == "running" and event["epoch"] not in trial.history)
    trial.history[event["epoch"]] = _shared_names(event["metrics"])


def _ended(state: SweepState, event: Event) -> None:
    trial = state.trials[event["trial"]]
    _require(trial.status == "running" and event["status"] in ENDED_STATUSES)
    state.outgrown.pop(trial.number, None)
    trial.metrics, trial.reason = _shared_names(event["metrics"]), event["reason"]
    trial.sizes = event.get("sizes", {})
    trial.status = event["status"]


def _extended(state: SweepState, event: Event) -> None:
    before = (state.extended_to or 0) if state.settled is None else state.settled.trials
    _require(isinstance(event["trials"], int) and event["trials"] > before)
    state.extended_to = event["trials"]
    state.went_on, state.settled = state.went_on or state.settled is not None, None


def _settled(state: SweepState, event: Event) -> None:
    settled = Settled(**{one.name: event[one.name] for one in fields(Settled)})
    _require(state.settled is None and not state.went_on and settled.trials == state.num_begun)
    state.settled = settled


def _timed(state: SweepState, event: Event) -> None:
    widths = tuple(event["widths"])
    _require(widths not in state.latencies and event["latency_ms"] > 0)
    state.latencies[widths] = event["latency_ms"]


def _shared(state: SweepState, event: Event) -> None:
    _require(state.gpu_share is None)
    names = ("gpus_per_trial", "peak", "total")
    state.gpu_share = {name: event[name] for name in names}


def _dropped(state: SweepState, event: Event) -> None:
    drop = Drop(**{one.name: event[one.name] for one in fields(Drop)})
    _require(0 <= drop.p <= drop.level)
    state.drops.append(drop)


def _outgrown(state: SweepState, event: Event) -> None:
    trial, share = state.trials[event["trial"]], event["gpus_per_trial"]
    _require(trial.status == "running" and share > state.outgrown.get(trial.number, 0.0))
    state.outgrown[trial.number] = share
    if state.gpu_share is not None:  # what was measured was too little
        least = min(1.0, 2 * share)
        known = state.gpu_share["gpus_per_trial"]
        state.gpu_share = {**state.gpu_share, "gpus_per_trial": max(known, least)}


def _shared_names(metrics: dict[str, float]) -> dict[str, float]:
    # JSON makes a new string of every name, larger than its number; a long sweep has 100,000.
    return {sys.intern(name): value for name, value in metrics.items()}


def _require(fits: bool) -> None:
    if not fits:
        raise ValueError


_APPLY = {
    "suggested": _suggested,
    "epoch": _epoch,
    "ended": _ended,
    "extended": _extended,
    "dropped": _dropped,
    "settled": _settled,
    "timed": _timed,
    "shared": _shared,
    "outgrown": _outgrown,
}


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
