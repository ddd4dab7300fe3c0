"""Order the finished trials of a dataset: confirmed configurations first, then single trials.

A configuration that was trained again on fresh seeds is judged by the mean of those runs alone.
Single trials come after all of them, by their own error: the best of many is partly the luckiest.
Reads no file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from hpo.records.confirmation import Confirmed, beside_best
from hpo.records.ranking import beats_last
from hpo.records.trial_records import TrialRecord
from hpo.space.objectives import pareto_front


@dataclass(frozen=True)
class RankedTrial(TrialRecord):
    """A trial's record, its rank, and what is known of its configuration on fresh seeds."""

    rank: int = 0
    """From 1, through both groups."""
    confirmed: Confirmed | None = None
    """The runs of its configuration on fresh seeds; None: it is a single trial."""
    metric: str = "val_mae"
    """By which it is ranked."""
    repeat_last: Mapping[str, float] | None = None
    """Validation errors of repeating the last reading; None where its sweep does not say."""

    @property
    def errors(self) -> Mapping[str, float]:
        """Errors by metric: means over fresh seeds where it is confirmed, else the trial's own."""
        spreads = {} if self.confirmed is None else self.confirmed.spreads()
        means = {name: one["mean"] for name, one in spreads.items() if one["mean"] is not None}
        return means or self.metrics

    @property
    def better_than_last(self) -> bool:
        """Whether its ``metric`` is below that of repeating the last reading, as far as known."""
        return beats_last(self.errors.get(self.metric), (self.repeat_last or {}).get(self.metric))

    def to_json(self) -> dict[str, Any]:
        """Return what ``hpo best --format json`` shows of it.

        ``config`` holds the searched settings, ``epochs`` and ``seed``; ``metrics`` are the
        trial's own, ``confirmed`` is None or ``Confirmed.standing``.
        """
        return {
            "rank": self.rank,
            "sweep": self.sweep,
            "trial": self.trial,
            "dataset": self.dataset,
            "method": self.method,
            "config": self.configuration,
            "metrics": self.metrics,
            "parameters": self.parameters,
            "flops": self.flops,
            **({} if self.latency_ms is None else {"latency_ms": self.latency_ms}),
            "confirmed": None if self.confirmed is None else self.confirmed.standing(),
            "better_than_last": self.better_than_last,
        }


@dataclass(frozen=True)
class Judged:
    """A configuration with the number that it is ranked by."""

    trial: TrialRecord
    confirmed: Confirmed | None
    error: float
    """Mean over fresh seeds, or the single trial's; infinite where all runs failed."""

    @property
    def order(self) -> tuple[int, bool, float, str, int]:
        """Sort key: confirmed, then single trials, then those of which every run failed."""
        failed = self.confirmed is not None and self.confirmed.failed > 0
        group = 1 if self.confirmed is None else 2 * math.isinf(self.error)
        return group, failed, self.error, self.trial.sweep, self.trial.trial


def judge(
    ranked: Iterable[TrialRecord], known: Mapping[str, Sequence[Confirmed]], metric: str
) -> list[Judged]:
    """Return the configurations in their order.

    Further trials of a confirmed configuration are left out: its runs say more.

    Args:
        ranked: finished trials, the lowest ``metric`` first.
        known: sweep -> its confirmed configurations.
        metric: to judge by.
    """
    compared = beside_best(one for every in known.values() for one in every)
    found = [Judged(one.trial, one, one.mean) for one in compared]
    single = [
        Judged(record, None, record.metrics[metric])
        for record in ranked
        if all(one.trial.settings != record.settings for one in known.get(record.sweep, ()))
    ]
    return sorted([*found, *single], key=lambda one: one.order)


def fronts(judged: Sequence[Judged]) -> list[Judged]:
    """Return those that none of their own group beats in both error and parameters.

    Between the groups a lucky single trial would beat what was confirmed.
    """
    kept = []
    for members in (
        [one for one in judged if one.confirmed is not None and math.isfinite(one.error)],
        [one for one in judged if one.confirmed is None],
    ):
        points = [(one.error, float(one.trial.parameters)) for one in members]
        kept += [members[index] for index in pareto_front(points)]
    return kept


def expected_luck(found: Iterable[Confirmed]) -> float | None:
    """Return how much worse configurations came out on fresh seeds than in the trials that won.

    A mean, in the unit of their metric; None where nothing is confirmed.
    """
    gaps = [one.mean - one.trial.metrics[one.metric] for one in found if one.finished]
    return fmean(gaps) if gaps else None


def luck_in_words(trials: int, luck: float | None) -> str:
    """Say how lucky the best of so many single trials is expected to be.

    Args:
        trials: how many finished.
        luck: what ``expected_luck`` returned.
    """
    if trials < 2:
        return "its one seed may be a lucky one"
    if luck is None:
        return f"the best of {trials} is lucky, by how much only fresh seeds show"
    if luck <= 0:
        return f"the best of {trials} may be lucky, though those tried on fresh seeds were not"
    return f"the best of {trials} is lucky by about {luck:.3f}"
