"""Join the searchers and schedulers of several sweeps, so that one Ray Tune run serves them all.

Each trial stays with the sweep that suggested it. Sweeps begin in their order, the next one as soon
as workers would be idle. Suggests and stops nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from hpo.search.worker_queue import WorkerQueue


class SeveralSearchers(Searcher):  # type: ignore[misc]
    """Asks one searcher after another."""

    def __init__(self, searchers: Sequence[Searcher], max_concurrent: int) -> None:
        """Join ``searchers``, of which no more than ``max_concurrent`` trials run at once."""
        super().__init__(metric=searchers[0].metric, mode=searchers[0].mode)
        self._searchers, self._max_concurrent = list(searchers), max_concurrent
        self._owner: dict[str, Searcher] = {}
        """Ray's trial id -> the searcher that suggested it."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the first suggestion there is, ``FINISHED`` if no searcher has any more."""
        if len(self._owner) >= self._max_concurrent:
            return None
        for searcher in self._searchers:
            suggested: dict[str, Any] | str | None = searcher.suggest(trial_id)
            if suggested != Searcher.FINISHED:
                if suggested is not None:
                    self._owner[trial_id] = searcher
                return suggested
        return str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass a report on to the trial's searcher."""
        self._owner[trial_id].on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass an end on to the trial's searcher."""
        self._owner.pop(trial_id).on_trial_complete(trial_id, result, error)


class SeveralSchedulers(WorkerQueue):
    """Delegates to the scheduler of each trial's sweep."""

    def __init__(self, schedulers: Mapping[str, TrialScheduler]) -> None:
        """Join ``schedulers``, by the addresses of their sweeps."""
        super().__init__()
        self._schedulers = dict(schedulers)

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        """Pass a trial on."""
        self._of(trial).on_trial_add(controller, trial)

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return the decision of the sweep's scheduler."""
        return str(self._of(trial).on_trial_result(controller, trial, result))

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Pass an end on."""
        self._of(trial).on_trial_complete(controller, trial, result)

    def _of(self, trial: Any) -> TrialScheduler:
        return self._schedulers[trial.config["sweep"]]
