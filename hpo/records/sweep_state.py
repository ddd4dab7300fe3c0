"""Define the state of a sweep, its trials and what became of them, and how an event changes it.

Reads and writes nothing: events come from ``hpo.records.ledger``, which shows them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
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
