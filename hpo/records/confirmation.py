"""Summarise the runs of confirmed configurations over several seeds: mean and spread.

One trial says little: small students differ by a tenth between seeds, and the best of many trials
is partly the luckiest. So the best are trained again on fresh seeds, and judged by those runs
alone. Trains nothing; that is for ``hpo.outcomes.confirmation_runs``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpo.records.ranking import configurations
from hpo.records.sweep_folder import SweepFolder
from hpo.records.trial_records import TrialRecord, read_records


@dataclass(frozen=True)
class Confirmed:
    """A configuration of a sweep and its runs on fresh seeds."""

    trial: TrialRecord
    """The sweep's best trial of this configuration; not one of the runs."""
    runs: tuple[TrialRecord, ...]
    """All runs that ended."""
    metric: str

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

    Those of which a run failed come after those that never did.

    Args:
        folder: the sweep.
        ranked: its finished trials, the best first.
        metric: to rank by.
    """
    runs = read_records(folder.confirmation.results)
    found = []
    for trial in configurations(ranked):
        same = tuple(run for run in runs if run.settings == trial.settings)
        if same:
            found.append(Confirmed(trial, same, metric))
    return sorted(found, key=lambda one: (one.failed > 0, one.mean))
