"""Which waiting trial gets the next worker."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from ray.tune.experiment import Trial

from hpo.search.worker_queue import START_SECONDS, WorkerQueue


@dataclass
class RayTrial:
    """As much of Ray's trial as is looked at."""

    trial_id: str
    status: str = Trial.PENDING


@dataclass
class Queue:
    """Trials in the order in which they were suggested, and a clock."""

    trials: list[RayTrial] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.scheduler = WorkerQueue(lambda: self.seconds)

    def get_trials(self) -> list[RayTrial]:
        return self.trials

    def add(self, *names: str) -> None:
        self.trials += [RayTrial(name) for name in names]

    def become(self, status: str, *names: str) -> None:
        for trial in self.trials:
            if trial.trial_id in names:
                trial.status = status

    def chosen(self, after: float = 1.0) -> str | None:
        self.seconds += after
        found = self.scheduler.choose_trial_to_run(self)
        return None if found is None else found.trial_id


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_nobody_waits(queue: Queue) -> None:
    assert queue.chosen() is None
    queue.add("a")
    queue.become(Trial.RUNNING, "a")
    assert queue.chosen() is None


def test_a_new_trial_comes_before_those_whose_workers_are_starting(queue: Queue) -> None:
    queue.add("a", "b")
    assert queue.chosen() == "a"
    queue.add("c")
    assert queue.chosen() == "c"


def test_without_a_new_one_the_oldest_may_have_a_free_worker(queue: Queue) -> None:
    queue.add("a", "b")
    queue.chosen()
    assert [queue.chosen(), queue.chosen()] == ["a", "a"]
    queue.become(Trial.RUNNING, "a")
    assert queue.chosen() == "b"


def test_one_that_waits_for_room_is_not_passed_over_for_ever(queue: Queue) -> None:
    queue.add("a")
    queue.chosen()
    queue.add("b")
    assert queue.chosen(START_SECONDS - 1) == "b"
    queue.add("c")
    assert queue.chosen(2.0) == "a"
    queue.become(Trial.RUNNING, "a")
    assert queue.chosen() == "b"


def test_one_that_lost_its_worker_is_waited_for_anew(queue: Queue) -> None:
    queue.add("a")
    queue.chosen()
    queue.become(Trial.RUNNING, "a")
    queue.chosen(START_SECONDS * 9)
    queue.become(Trial.PENDING, "a")
    assert queue.chosen() == "a", "a worker is asked for"
    queue.add("b")
    assert queue.chosen() == "b"


def test_a_paused_trial_goes_on_where_nobody_waits(queue: Queue) -> None:
    queue.add("a")
    queue.become(Trial.PAUSED, "a")
    assert queue.chosen() == "a"
