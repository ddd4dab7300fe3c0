"""Trials that wait for a worker in, the one that gets the next out.

A worker takes some seconds to start: a process that imports torch. Ray Tune hands a worker that
comes free to the trial that has waited longest, and throws away the one that was being started for
it. Where trials end more often than workers start, on a large cluster or with short trials, none
would ever be added, nor a lost one replaced. So here a trial whose own worker is on its way leaves
others to those that have none yet. Whether trials stop is not decided here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

START_SECONDS: Final = 60.0
"""A worker that is not there after so long waits for room itself, perhaps for ever."""


class WaitingTrials(FIFOScheduler):  # type: ignore[misc]
    """Chooses in order of age, passing over those whose workers are being started."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know of no trial.

        Args:
            clock: tells seconds.
        """
        super().__init__()
        self._clock = clock
        self._waiting: dict[str, float] = {}
        """Since when trials wait, by Ray's names; a worker is asked for at once."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the trial that may have a worker that is free, else a new one."""
        now = self._clock()
        trials = tune_controller.get_trials()
        pending = [trial for trial in trials if trial.status == Trial.PENDING]
        # One that ran and lost its worker begins to wait anew.
        before = self._waiting
        self._waiting = {trial.trial_id: before.get(trial.trial_id, now) for trial in pending}
        for trial in pending:
            waits = now - self._waiting[trial.trial_id]
            if trial.trial_id not in before or waits > START_SECONDS:
                return trial
        chosen: Trial | None = super().choose_trial_to_run(tune_controller)
        return chosen
