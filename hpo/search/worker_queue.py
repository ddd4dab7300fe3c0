"""Choose which waiting trial gets the next free worker.

A worker takes some seconds to start: a process that imports torch. Ray Tune gives a free worker to
the trial that has waited longest, and discards the one that was being started for it. Where trials
end more often than workers start, on a large cluster or with short trials, none would ever be
added, nor a lost one replaced. So here a trial whose own worker is starting leaves free ones to
trials that have none yet. Stops no trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from hpo.internals.ray_trials import pending_trials

START_SECONDS: Final = 60.0
"""A worker that has not started after this long is itself waiting for room, perhaps for ever."""


class WorkerQueue(FIFOScheduler):  # type: ignore[misc]
    """Chooses in order of age, passing over trials whose workers are starting."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with an empty queue.

        Args:
            clock: returns seconds.
        """
        super().__init__()
        self._clock = clock
        self._waiting_since: dict[str, float] = {}
        """Ray's trial id -> when the trial began to wait; its worker is requested at once."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the trial that may take a free worker, else a new one."""
        now = self._clock()
        pending = pending_trials(tune_controller)
        # A trial that ran and lost its worker starts waiting again.
        before = self._waiting_since
        self._waiting_since = {trial.trial_id: before.get(trial.trial_id, now) for trial in pending}
        for trial in pending:
            waited = now - self._waiting_since[trial.trial_id]
            if trial.trial_id not in before or waited > START_SECONDS:
                return trial
        chosen: Trial | None = super().choose_trial_to_run(tune_controller)
        return chosen
