"""Implement Hyperband and the median stopping rule as Ray Tune schedulers.

Both only ever stop a trial before its last epoch: one that gets there ends by itself, so that it
can save its student. Their names are listed in ``hpo.search.schedulers``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ray.tune.schedulers import FIFOScheduler, MedianStoppingRule, TrialScheduler


class Hyperband(FIFOScheduler):  # type: ignore[misc]
    """Assigns trials to brackets of asynchronous halving, deterministically.

    Ray's own synchronous Hyperband pauses trials until a bracket is full, and its asynchronous one
    draws the brackets from an unseeded generator.
    """

    def __init__(self, brackets: Sequence[TrialScheduler]) -> None:
        """Take ``brackets``, the one that stops earliest first.

        In each round of trials the first of n brackets gets n, the next n - 1, the last one.
        """
        super().__init__()
        shares = range(len(brackets), 0, -1)
        pairs = zip(brackets, shares, strict=True)
        self._turns = [bracket for bracket, share in pairs for _ in range(share)]
        self._num_added = 0
        self._bracket_of: dict[str, TrialScheduler] = {}

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        """Assign the trial to the next bracket."""
        bracket = self._turns[self._num_added % len(self._turns)]
        self._num_added += 1
        self._bracket_of[trial.trial_id] = bracket
        bracket.on_trial_add(controller, trial)

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return the decision of the trial's bracket."""
        return str(self._bracket_of[trial.trial_id].on_trial_result(controller, trial, result))

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Notify the trial's bracket."""
        self._bracket_of.pop(trial.trial_id).on_trial_complete(controller, trial, result)


class MedianStopping(MedianStoppingRule):  # type: ignore[misc]
    """Ray's median stopping rule, except that no trial is stopped at its last epoch.

    It also ignores final results: that of a failed trial has no epoch, at which Ray's rule raises.
    """

    def __init__(self, metric: str, mode: str, grace_period: int, epochs: int) -> None:
        """Compare from epoch ``grace_period`` on; a trial runs ``epochs`` at most."""
        # Infinite time slice: no trial is ever paused to let others catch up.
        super().__init__(
            time_attr="epoch",
            metric=metric,
            mode=mode,
            grace_period=grace_period,
            min_time_slice=math.inf,
        )
        self._epochs = epochs

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Stop the trial if its best is worse than the median of the others so far."""
        if result.get("epoch", 0) >= self._epochs:
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(controller, trial, result))

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Ignore the final result; its epochs were already reported."""
