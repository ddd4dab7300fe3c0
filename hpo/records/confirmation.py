"""Summarise the runs of confirmed configurations over several seeds: mean and spread.

One trial says little: small students differ by a tenth between seeds, and the best of many trials
is partly the luckiest. So the best are trained again on fresh seeds, and judged by those runs
alone. A race may have dropped some of them before they had all seeds. Trains nothing; that is for
``hpo.outcomes.confirmation_runs``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpo.records.ledger import read_ledger
from hpo.records.ranking import configurations
from hpo.records.seed_differences import mean_interval, shown_worse
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_state import Drop
from hpo.records.trial_records import TrialRecord, read_records

_TOLD = ("against", "seeds", "p", "level")


@dataclass(frozen=True)
class Confirmed:
    """A configuration of a sweep and its runs on fresh seeds."""

    trial: TrialRecord
    """The sweep's best trial of this configuration; not one of the runs."""
    runs: tuple[TrialRecord, ...]
    """All runs that ended."""
    metric: str
    drop: Drop | None = None
    """Why it got no further seeds; None also where it got some later."""
    like: TrialRecord | None = None
    """That of the best configuration, where nothing shows that this one is worse."""

    @property
    def finished(self) -> list[TrialRecord]:
        """The runs with a student, the lowest ``metric`` first."""
        runs = [run for run in self.runs if run.status == "finished" and self.metric in run.metrics]
        return sorted(runs, key=lambda run: (run.metrics[self.metric], run.trial))

    @property
    def failed(self) -> int:
        """Number of runs that ended without a student."""
        return len(self.runs) - len(self.finished)

    @property
    def mean(self) -> float:
        """Mean of ``metric`` over the finished runs; infinite if there are none."""
        errors = self._errors()
        return statistics.fmean(errors) if errors else math.inf

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over the finished runs; None of fewer than two."""
        errors = self._errors()
        return statistics.stdev(errors) if len(errors) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of the 95 % t-interval of the mean; None of fewer than two finished runs."""
        return mean_interval(self._errors())

    @property
    def by_seed(self) -> dict[int, float]:
        """Error by seed, of the finished runs."""
        return {run.seed: run.metrics[self.metric] for run in self.finished}

    def standing(self) -> dict[str, Any]:
        """Return ``summary``, the interval of the mean, and how it stands beside the best.

        ``like`` names the best's sweep and trial, or is None; ``dropped`` is a ``Drop`` or None.
        """
        drop = self.drop
        dropped = None if drop is None else {name: getattr(drop, name) for name in _TOLD}
        interval = None if self.interval is None else list(self.interval)
        like = None if self.like is None else {"sweep": self.like.sweep, "trial": self.like.trial}
        return {**self.summary(), "interval": interval, "like": like, "dropped": dropped}

    def summary(self) -> dict[str, Any]:
        """Return mean, spread, lowest and highest error, and the seeds, as JSON values."""
        errors = self._errors()
        return {
            "metric": self.metric,
            "mean": self.mean if errors else None,
            "spread": self.spread,
            "lowest": min(errors, default=None),
            "highest": max(errors, default=None),
            "seeds": [run.seed for run in self.runs],
            "failed": self.failed,
        }

    def spreads(self) -> dict[str, dict[str, float | None]]:
        """Return mean and spread of every metric that all finished runs have."""
        runs = [run.metrics for run in self.finished]
        shared = [name for name in runs[0] if all(name in run for run in runs)] if runs else []
        return {name: _spread([run[name] for run in runs]) for name in shared}

    def _errors(self) -> list[float]:
        return [run.metrics[self.metric] for run in self.finished]


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "spread": spread, "runs": len(values)}


def confirmed(folder: SweepFolder, ranked: Sequence[TrialRecord], metric: str) -> list[Confirmed]:
    """Return the confirmed configurations of a sweep, the lowest mean first.

    Those of which a run failed come after those that never did. One that was dropped keeps its
    place: it stands by the seeds that it got.

    Args:
        folder: the sweep.
        ranked: its finished trials, the best first.
        metric: to rank by.
    """
    runs = read_records(folder.confirmation.results)
    drops = read_ledger(folder.confirmation.ledger_file).drops if runs else []
    found = []
    for trial in configurations(ranked):
        one = confirmed_by(runs, trial, metric)
        if one.runs:
            found.append(replace(one, drop=_drop_of(trial, drops, len(one.runs))))
    return beside_best(found)


def beside_best(found: Iterable[Confirmed]) -> list[Confirmed]:
    """Return configurations, also of several sweeps, in their order, compared with the best."""
    ordered = sorted(found, key=lambda one: (not one.finished, one.failed > 0, one.mean))
    return [
        replace(one, like=None if at == 0 else _like(one, ordered[0]))
        for at, one in enumerate(ordered)
    ]


def confirmed_by(runs: Sequence[TrialRecord], trial: TrialRecord, metric: str) -> Confirmed:
    """Return the configuration of ``trial`` with those of the ``runs`` that are its own."""
    return Confirmed(trial, tuple(run for run in runs if run.settings == trial.settings), metric)


def _drop_of(trial: TrialRecord, drops: Sequence[Drop], seeds: int) -> Drop | None:
    own = [one for one in drops if one.settings == trial.settings and one.seeds >= seeds]
    return own[-1] if own else None


def _like(one: Confirmed, best: Confirmed) -> TrialRecord | None:
    if not one.finished or one.drop is not None or shown_worse(one.by_seed, best.by_seed):
        return None
    return best.trial
