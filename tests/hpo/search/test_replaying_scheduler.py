"""A scheduler after a stop: what it knows of earlier trials, and what it stops."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import TrialScheduler

from hpo.records.ledger import Ledger, read_events
from hpo.records.sweep_state import Event
from hpo.search.early_stopping import Hyperband, MedianStopping
from hpo.search.replaying_scheduler import ReplayingScheduler
from hpo.search.schedulers import SCHEDULERS, make_scheduler

EPOCHS = 9
TRIALS = 10
AT_ONCE = 3


@dataclass
class RayTrial:
    """As much of Ray's trial as anybody looks at; a new id in every life of a driver."""

    trial_id: str
    config: dict[str, Any]


@dataclass
class Sweep:
    """Trials whose errors and order of reports follow from a seed, under one scheduler."""

    name: str
    seed: int
    events: list[Event] = field(default_factory=list)
    lives: int = 0

    def start(self) -> None:
        """Begin a life: the scheduler knows what the events tell, Ray's trials are new."""
        self.lives += 1
        asked = make_scheduler(self.name, metric="val_mae", mode="min", epochs=EPOCHS)
        self.scheduler = ReplayingScheduler(asked, self.events)
        self.inner = asked
        self.live: dict[int, RayTrial] = {}

    def error(self, trial: int, epoch: int) -> float:
        chance = random.Random(f"{self.seed} {trial} {epoch}")
        return 1 + trial * 7 % TRIALS / TRIALS + chance.random() / epoch

    def run(self, until: int | None = None) -> None:
        """Go on until so many events are written, or to the end."""
        while until is None or len(self.events) < until:
            state = self.epochs()
            running = sorted(state)
            if len(running) < AT_ONCE and self.suggested < TRIALS:
                self.events.append({"event": "suggested", "trial": self.suggested})
                self.ray_trial(self.suggested - 1)
            elif not running:
                return
            else:
                # Which trial reports next follows from what happened, not from the life.
                number = random.Random(f"{self.seed} {len(self.events)}").choice(running)
                self.report(number, state[number] + 1)

    @property
    def suggested(self) -> int:
        return sum(event["event"] == "suggested" for event in self.events)

    def epochs(self) -> dict[int, int]:
        """Running trial -> its last epoch."""
        found: dict[int, int] = {}
        for event in self.events:
            if event["event"] == "ended":
                del found[event["trial"]]
            else:
                found[event["trial"]] = event.get("epoch", 0)
        return found

    def ray_trial(self, number: int) -> RayTrial:
        """Ray's trial in this life; one that goes on tells its last epoch again."""
        if number not in self.live:
            trial = RayTrial(f"{self.lives}-{number}", {"trial": number})
            self.live[number] = trial
            self.scheduler.on_trial_add(None, trial)
            epoch = self.epochs()[number]
            if epoch:
                again = {"epoch": epoch, "val_mae": self.error(number, epoch)}
                assert self.scheduler.on_trial_result(None, trial, again) == "CONTINUE"
        return self.live[number]

    def report(self, number: int, epoch: int) -> None:
        trial, metrics = self.ray_trial(number), {"val_mae": self.error(number, epoch)}
        result = {"epoch": epoch, **metrics}
        decision = self.scheduler.on_trial_result(None, trial, result)
        self.events.append({"event": "epoch", "trial": number, "epoch": epoch, "metrics": metrics})
        if decision == TrialScheduler.STOP or epoch == EPOCHS:
            self.scheduler.on_trial_complete(None, trial, result)
            status = "pruned" if decision == TrialScheduler.STOP else "finished"
            end = {"event": "ended", "trial": number, "status": status, "metrics": metrics}
            self.events.append(end)


def rungs(scheduler: TrialScheduler) -> Any:
    """All that a scheduler holds of its trials."""
    if isinstance(scheduler, Hyperband):
        return [rungs(bracket) for bracket in dict.fromkeys(scheduler._turns)]
    if isinstance(scheduler, MedianStopping):
        return {trial.trial_id: results for trial, results in scheduler._results.items()}
    return [bracket._rungs for bracket in getattr(scheduler, "_brackets", [])]


def uninterrupted(name: str, seed: int) -> Sweep:
    sweep = Sweep(name, seed)
    sweep.start()
    sweep.run()
    return sweep


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_sweep_that_resumes_stops_what_one_that_ran_through_stops(name: str) -> None:
    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 50), cuts=st.lists(st.integers(1, 80), max_size=3))
    def check(seed: int, cuts: list[int]) -> None:
        calm, stopped = uninterrupted(name, seed), Sweep(name, seed)
        for cut in [*sorted(cuts), None]:
            stopped.start()
            stopped.run(cut)
        assert stopped.events == calm.events
        assert rungs(stopped.inner) == rungs(calm.inner)

    check()


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
def test_these_sweeps_do_stop_trials(name: str) -> None:
    statuses = [event.get("status") for event in uninterrupted(name, 0).events]
    assert 2 <= statuses.count("pruned") < TRIALS
    forgetful = Sweep(name, 0, uninterrupted(name, 0).events[:40])
    forgetful.start()
    assert rungs(forgetful.inner) != rungs(
        make_scheduler(name, metric="val_mae", mode="min", epochs=EPOCHS)
    )


def test_what_was_decided_is_repeated_when_an_epoch_is_told_again() -> None:
    """A driver may die between a scheduler's word and the end of the trial."""
    sweep = uninterrupted("asha", 0)
    end = next(event for event in sweep.events if event.get("status") == "pruned")
    at = sweep.events.index(end)
    asked = make_scheduler("asha", metric="val_mae", mode="min", epochs=EPOCHS)
    scheduler = ReplayingScheduler(asked, sweep.events[:at])
    trial = RayTrial("new", {"trial": end["trial"]})
    scheduler.on_trial_add(None, trial)
    told = {"epoch": sweep.events[at - 1]["epoch"], "val_mae": 0.0}
    assert scheduler.on_trial_result(None, trial, told) == TrialScheduler.STOP


def test_trials_that_were_never_trained_take_no_place_in_a_bracket() -> None:
    events: list[Event] = [{"event": "suggested", "trial": 0}, {"event": "timed", "widths": [1]}]
    events += [{"event": "ended", "trial": 0, "status": "infeasible", "metrics": {}}]
    events += [{"event": "suggested", "trial": 1}]
    asked = make_scheduler("hyperband", metric="val_mae", mode="min", epochs=27)
    assert isinstance(asked, Hyperband)
    scheduler = ReplayingScheduler(asked, events, untrained={0})
    scheduler.on_trial_add(None, RayTrial("again", {"trial": 1}))
    assert asked._num_added == 1


def test_a_requeued_trial_stays_in_its_bracket() -> None:
    """Ray adds a trial again whose worker died."""
    asked = make_scheduler("hyperband", metric="val_mae", mode="min", epochs=27)
    assert isinstance(asked, Hyperband)
    scheduler = ReplayingScheduler(asked)
    for _ in range(3):
        scheduler.on_trial_add(None, RayTrial("same", {"trial": 0}))
    assert asked._num_added == 1


def test_events_are_read_in_their_order_and_a_cut_line_is_left_out(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("suggested", trial=0, settings={}, seed=1)
    ledger.append("epoch", trial=0, epoch=1, metrics={"val_mae": 2.0})
    with (tmp_path / "ledger.jsonl").open("a") as stream:
        stream.write('{"event": "epo')
    events = list(read_events(tmp_path / "ledger.jsonl"))
    assert [event["event"] for event in events] == ["suggested", "epoch"]
