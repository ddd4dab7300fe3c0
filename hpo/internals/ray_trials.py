"""Read and change what Ray Tune keeps of its trials, and stand in for them.

Tune promises neither what a ``Trial`` keeps about itself nor that a scheduler works without a
running search. Decides nothing: which trials stop is up to the scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpo.internals.ray_environment import set_ray_environment

if TYPE_CHECKING:
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import TrialScheduler

set_ray_environment()  # not in this package's __init__: other modules here do without Ray


def reset_failure_count(trial: Trial) -> None:
    """Let Tune restart the trial's worker as often again as ``FailureConfig`` allows."""
    trial.run_metadata.num_failures = 0


def drop_metric_history(trial: Trial) -> None:
    """Free the running means and queues of every metric, most of what Tune keeps of a trial."""
    trial.run_metadata.metric_analysis.clear()
    trial.run_metadata.metric_n_steps.clear()


def pending_trials(tune_controller: Any) -> list[Trial]:
    """Return the trials that wait for a worker, oldest first.

    Args:
        tune_controller: what Tune hands to ``TrialScheduler.choose_trial_to_run``.
    """
    from ray.tune.experiment import Trial  # noqa: PLC0415 - ray is slow to import

    return [trial for trial in tune_controller.get_trials() if trial.status == Trial.PENDING]


@dataclass(frozen=True)
class _TrialStandIn:
    """As much of Tune's trial as schedulers look at; hashable, since they keep trials as keys."""

    trial_id: str


class DetachedScheduler:
    """Runs a Ray Tune scheduler on numbered trials, outside any search.

    Instead of Tune's controller the scheduler gets None, so it may neither pause trials nor look
    at those that run.
    """

    def __init__(self, scheduler: TrialScheduler) -> None:
        """Take a new ``scheduler``, which nobody else calls."""
        self._scheduler = scheduler
        self._trials: dict[int, _TrialStandIn] = {}

    def add(self, number: int) -> None:
        """Add a trial, unless it was added before."""
        if number not in self._trials:
            self._trials[number] = _TrialStandIn(str(number))
            self._scheduler.on_trial_add(None, self._trials[number])

    def decide(self, number: int, result: dict[str, Any]) -> str:
        """Report a result of an added trial; return ``CONTINUE`` or ``STOP``."""
        return str(self._scheduler.on_trial_result(None, self._trials[number], result))

    def complete(self, number: int, result: dict[str, Any]) -> None:
        """Report the end of an added trial."""
        self._scheduler.on_trial_complete(None, self._trials[number], result)
