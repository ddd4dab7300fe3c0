"""Several sweeps that share one run: each trial stays with its own searcher and scheduler."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from hpo.search.several_sweeps import SeveralSchedulers, SeveralSearchers


class Counting(Searcher):
    """Suggests so many trials, and notes what it is told."""

    def __init__(self, name: str, trials: int) -> None:
        super().__init__(metric="val_mae", mode="min")
        self.name, self.left = name, trials
        self.told: list[tuple[str, str]] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self.left:
            return str(Searcher.FINISHED)
        self.left -= 1
        return {"sweep": self.name}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.told.append(("result", trial_id))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self.told.append(("complete", trial_id))


def test_sweeps_take_turns_and_keep_their_trials() -> None:
    first, second = Counting("first", 2), Counting("second", 1)
    both = SeveralSearchers([first, second], max_concurrent=2)
    assert [both.suggest(one) for one in ("a", "b", "c")] == [
        {"sweep": "first"},
        {"sweep": "first"},
        None,  # two run already
    ]
    both.on_trial_result("a", {})
    both.on_trial_complete("b")
    assert both.suggest("c") == {"sweep": "second"}
    both.on_trial_complete("a")
    assert both.suggest("d") == Searcher.FINISHED
    both.on_trial_complete("c")
    assert first.told == [("result", "a"), ("complete", "b"), ("complete", "a")]
    assert second.told == [("complete", "c")]


def test_a_sweep_that_waits_is_waited_for() -> None:
    class Waiting(Counting):
        def suggest(self, trial_id: str) -> None:
            return None

    assert SeveralSearchers([Waiting("a", 1), Counting("b", 1)], 2).suggest("x") is None


def test_each_trial_is_judged_by_the_scheduler_of_its_sweep() -> None:
    class Stopping(FIFOScheduler):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []

        def on_trial_add(self, controller: Any, trial: Any) -> None:
            self.seen.append(trial.trial_id)

        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            return str(TrialScheduler.STOP)

        def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
            self.seen.append("end")

    stopping = Stopping()
    both = SeveralSchedulers({"lazy": FIFOScheduler(), "strict": stopping})
    lazy = SimpleNamespace(trial_id="1", config={"sweep": "lazy"})
    strict = SimpleNamespace(trial_id="2", config={"sweep": "strict"})
    for trial in (lazy, strict):
        both.on_trial_add(None, trial)
    assert both.on_trial_result(None, lazy, {}) == TrialScheduler.CONTINUE
    assert both.on_trial_result(None, strict, {}) == TrialScheduler.STOP
    both.on_trial_complete(None, strict, {})
    assert stopping.seen == ["2", "end"]
    with pytest.raises(KeyError):
        both.on_trial_add(None, SimpleNamespace(trial_id="3", config={"sweep": "other"}))
