"""Decide when a search is settled: what it could still gain is less than what a seed changes.

After ``regret_bound.FEWEST`` finished trials, the best configuration runs on further seeds, as
trials of the sweep, until it has finished on ``SEEDS``: their standard deviation is the spread.
Runs of a confirmation of the same sweep count too, and save these trials where there are such. From
then on the search is settled once its regret bound is below the spread (Makarova et al., 2022, who
take the deviation of a cross-validation). Runs nothing and writes nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from hpo.records.sweep_state import Settled, SweepState, Trial
from hpo.search.regret_bound import FEWEST, regret_bound

SEEDS = 3
"""On which the best configuration must have finished."""
MOST_RUNS = 6
"""Of one configuration: a scheduler may stop some of them early."""


class Settling:
    """Watches one search."""

    def __init__(
        self,
        metric: str,
        distributions: Mapping[str, BaseDistribution],
        confirmed: Sequence[Trial] = (),
        seed: int = 0,
    ) -> None:
        """Watch the error ``metric``; ``confirmed`` are runs of a confirmation."""
        self._metric, self._distributions, self._seed = metric, distributions, seed
        self._confirmed = [one for one in confirmed if one.status == "finished"]
        self._judged = 0
        """Number of finished trials when the bound was last computed."""

    def to_repeat(self, state: SweepState) -> dict[str, Any] | None:
        """Return the configuration that is to run on another seed; None: none is."""
        finished = state.with_status("finished")
        if len(finished) < FEWEST or self._runs(finished) is not None:
            return None
        best = state.best(self._metric)
        own = [one for one in state.trials.values() if best and one.settings == best.settings]
        under_way = sum(one.status in {"running", "finished"} for one in own)
        if best is None or under_way >= SEEDS or len(own) >= MOST_RUNS:
            return None
        return best.settings

    def judge(self, state: SweepState, study: optuna.Study) -> Settled | None:
        """Return why the search can end; None while it cannot, or nothing new has finished."""
        finished = state.with_status("finished")
        runs = self._runs(finished)
        if runs is None or len(finished) in {self._judged, *range(FEWEST)}:
            return None
        self._judged = len(finished)
        spread = statistics.stdev(runs)
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        known = [one for one in trials if one.value is not None and math.isfinite(one.value)]
        bound = regret_bound(known, self._distributions, self._seed)
        return Settled(state.num_begun, bound, spread, len(runs)) if bound < spread else None

    def _runs(self, finished: Iterable[Trial]) -> list[float] | None:
        """Return the errors of the best configuration that ran on enough seeds; None of none."""
        groups: list[list[Trial]] = []
        for one in [*finished, *self._confirmed]:
            group = next((group for group in groups if group[0].settings == one.settings), None)
            if group is None:
                groups.append([one])
            else:
                group.append(one)
        enough = [[one.metrics[self._metric] for one in group] for group in groups]
        return min((one for one in enough if len(one) >= SEEDS), key=statistics.fmean, default=None)
