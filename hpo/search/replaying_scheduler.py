"""Replay a ledger's events to a new scheduler, so that a resumed sweep stops the same trials.

Ray Tune renumbers trials whenever a sweep starts and does not tell a scheduler about earlier ones.
Here trials keep the sweep's numbers, and the scheduler receives the events of the ledger first, in
their order: it then stops what it would have stopped in a sweep without interruption. Decides
nothing itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from ray.tune.schedulers import TrialScheduler

from hpo.internals.ray_trials import DetachedScheduler
from hpo.records.sweep_state import Event
from hpo.search.worker_queue import WorkerQueue


class ReplayingScheduler(WorkerQueue):
    """Delegates to ``scheduler``, which receives every trial once and every epoch once."""

    def __init__(
        self,
        scheduler: TrialScheduler,
        events: Iterable[Event] = (),
        untrained: Collection[int] = (),
    ) -> None:
        """Replay ``events`` to ``scheduler``, which must be new.

        Args:
            scheduler: decides.
            events: of the sweep's ledger so far.
            untrained: trials among them that were never trained; the scheduler never receives them.
        """
        super().__init__()
        self._scheduler = DetachedScheduler(scheduler)
        self._last: dict[int, tuple[int, str]] = {}
        """Trial -> its last epoch and the decision then; absent before the first."""
        for event in events:
            if "trial" in event and event["trial"] not in untrained:
                self._replay(event)

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        """Pass a trial on, unless it is known: one that resumes after a stop or a lost worker."""
        self._scheduler.add(trial.config["trial"])

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Pass a result on; for an epoch that was reported before, repeat the decision."""
        return self._decide(trial.config["trial"], result)

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Pass an end on."""
        self._scheduler.complete(trial.config["trial"], result)

    def _decide(self, number: int, result: dict[str, Any]) -> str:
        epoch, decision = self._last.get(number, (0, str(TrialScheduler.CONTINUE)))
        if "epoch" in result and result["epoch"] <= epoch:
            return decision
        decision = self._scheduler.decide(number, result)
        if "epoch" in result:
            self._last[number] = result["epoch"], decision
        return decision

    def _replay(self, event: Event) -> None:
        if event["event"] == "suggested":
            self._scheduler.add(event["trial"])
        elif event["event"] == "epoch":
            self._decide(event["trial"], {"epoch": event["epoch"], **event["metrics"]})
        elif event["event"] == "ended":
            self._scheduler.complete(event["trial"], event["metrics"])
