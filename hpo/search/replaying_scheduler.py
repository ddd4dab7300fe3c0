"""A scheduler in, the same scheduler out, but one that knows the sweep's earlier trials.

Ray Tune numbers trials anew whenever a sweep starts and tells a scheduler nothing of those before.
Here trials go by their own numbers, and the events of the ledger are told to the scheduler first,
in their order: it then stops what it would have stopped had the sweep run through. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import TrialScheduler

from hpo.records.ledger import Event
from hpo.search.worker_queue import WaitingTrials


@dataclass(frozen=True)
class _KnownTrial:
    """As much of Ray's trial as schedulers look at."""

    trial_id: str


class RememberingScheduler(WaitingTrials):
    """Asks ``scheduler``, which hears of every trial once and of every epoch once."""

    def __init__(
        self,
        scheduler: TrialScheduler,
        events: Iterable[Event] = (),
        untrained: Collection[int] = (),
    ) -> None:
        """Stand in front of ``scheduler``, which must be new.

        Args:
            scheduler: decides.
            events: of the sweep's ledger so far.
            untrained: trials among them that were never trained; no scheduler hears of those.
        """
        super().__init__()
        self._asked = scheduler
        self._last: dict[int, tuple[int, str]] = {}
        """Trial -> its last epoch, and what was decided then; absent before the first."""
        self._known: dict[int, _KnownTrial] = {}
        for event in events:
            if "trial" in event and event["trial"] not in untrained:
                self._replay(event)

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        """Pass a trial on, unless it is known: it goes on after a stop or a worker's death."""
        self._add(trial.config["trial"])

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Pass a result on; of an epoch that was told before, repeat what was decided."""
        return self._decide(trial.config["trial"], result)

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Pass an end on."""
        self._complete(trial.config["trial"], result)

    def _add(self, number: int) -> None:
        if number not in self._known:
            self._known[number] = _KnownTrial(str(number))
            self._asked.on_trial_add(None, self._known[number])

    def _decide(self, number: int, result: dict[str, Any]) -> str:
        epoch, decided = self._last.get(number, (0, TrialScheduler.CONTINUE))
        if "epoch" in result and result["epoch"] <= epoch:
            return str(decided)
        decided = self._asked.on_trial_result(None, self._known[number], result)
        if "epoch" in result:
            self._last[number] = result["epoch"], decided
        return str(decided)

    def _complete(self, number: int, result: dict[str, Any]) -> None:
        self._asked.on_trial_complete(None, self._known[number], result)

    def _replay(self, event: Event) -> None:
        if event["event"] == "suggested":
            self._add(event["trial"])
        elif event["event"] == "epoch":
            self._decide(event["trial"], {"epoch": event["epoch"], **event["metrics"]})
        elif event["event"] == "ended":
            self._complete(event["trial"], event["metrics"])
