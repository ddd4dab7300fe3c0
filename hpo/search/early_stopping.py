"""Ray Tune schedulers of our own: epochs' results in, which running trials stop out.

Both only ever stop a trial before its last epoch: one that gets there ends by itself, so that it
can write down what it found. Which scheduler is called what is said in ``hpo.search.schedulers``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ray.tune.schedulers import FIFOScheduler, MedianStoppingRule, TrialScheduler


class Hyperband(FIFOScheduler):  # type: ignore[misc]
    """Deals trials out to brackets of asynchronous halving, the same way every time.

    Ray's own synchronous Hyperband pauses trials until a bracket is full, and its asynchronous one
    draws the brackets from an unseeded generator.
    """

    def __init__(self, brackets: Sequence[TrialScheduler]) -> None:
        """Take ``brackets``, the quickest to stop first.

        Of n brackets it gets n trials, the next n - 1, the last one, and so on again.
        """
        super().__init__()
        shares = range(len(brackets), 0, -1)
        pairs = zip(brackets, shares, strict=True)
        self._order = [bracket for bracket, share in pairs for _ in range(share)]
        self._dealt = 0
        self._bracket_of: dict[str, TrialScheduler] = {}

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        """Choose the trial's bracket."""
        bracket = self._order[self._dealt % len(self._order)]
        self._dealt += 1
        self._bracket_of[trial.trial_id] = bracket
        bracket.on_trial_add(controller, trial)

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ask the trial's bracket."""
        return str(self._bracket_of[trial.trial_id].on_trial_result(controller, trial, result))

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Tell the trial's bracket."""
        self._bracket_of.pop(trial.trial_id).on_trial_complete(controller, trial, result)


class MedianStopping(MedianStoppingRule):  # type: ignore[misc]
    """Ray's median stopping rule, made to spare trials at their last epoch and to know last words.

    A trial that fails says so in a last result without an epoch, which Ray's rule trips over.
    """

    def __init__(self, metric: str, mode: str, grace_period: int, epochs: int) -> None:
        """Compare from epoch ``grace_period`` on; a trial runs ``epochs`` at most."""
        # Infinite: a trial never pauses to let others catch up.
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
        """Take nothing from a last word: what it holds has been reported by epochs."""
