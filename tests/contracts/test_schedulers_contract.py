"""Every scheduler, driven by hand: it decides, spares the best, and lets last epochs end."""

from __future__ import annotations

import pytest
from ray.tune.schedulers import TrialScheduler

from hpo.search.schedulers import SCHEDULERS, make_scheduler


class FakeTrial:
    """As much of Ray's trial as schedulers look at."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


EPOCHS = (1, 2, 3, 5, 9, 15, 30)

every_scheduler = pytest.mark.parametrize("name", SCHEDULERS)


def drive(name: str, mode: str, errors: list[float], epochs: int) -> list[int]:
    """Report trials one after the other, each a constant; return the epochs each one ran."""
    scheduler = make_scheduler(name, metric="val_mae", mode=mode, epochs=epochs)
    assert isinstance(scheduler, TrialScheduler)
    return [run(scheduler, f"t{index}", error, epochs) for index, error in enumerate(errors)]


def run(scheduler: TrialScheduler, trial_id: str, error: float, epochs: int) -> int:
    trial = FakeTrial(trial_id)
    scheduler.on_trial_add(None, trial)
    for epoch in range(1, epochs + 1):
        result = {"epoch": epoch, "val_mae": error, "training_iteration": 1}
        decision = scheduler.on_trial_result(None, trial, result)
        assert decision in {TrialScheduler.CONTINUE, TrialScheduler.STOP}
        if decision == TrialScheduler.STOP:
            assert epoch < epochs, "a trial at its last epoch must end by itself"
            return epoch
    scheduler.on_trial_complete(None, trial, result)
    return epochs


@every_scheduler
@pytest.mark.parametrize("epochs", EPOCHS)
@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_better_and_better_trials_all_run_to_their_end(
    name: str, epochs: int, mode: str, sign: int
) -> None:
    errors = [sign * (10.0 - index) for index in range(9)]
    assert drive(name, mode, errors, epochs) == [epochs] * 9


@every_scheduler
@pytest.mark.parametrize("epochs", EPOCHS)
def test_a_trial_that_fails_before_its_first_report_does_no_harm(name: str, epochs: int) -> None:
    scheduler = make_scheduler(name, metric="val_mae", mode="min", epochs=epochs)
    trial = FakeTrial("lost")
    scheduler.on_trial_add(None, trial)
    scheduler.on_trial_error(None, trial)
    assert run(scheduler, "next", 1.0, epochs) == epochs


@every_scheduler
def test_a_result_without_the_metric_goes_on(name: str) -> None:
    scheduler = make_scheduler(name, metric="val_mae", mode="min", epochs=9)
    trial = FakeTrial("t0")
    scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, trial, {"epoch": 5}) == TrialScheduler.CONTINUE


@every_scheduler
def test_last_words_without_an_epoch_do_no_harm(name: str) -> None:
    """A trial that fails says so in a last result of its own."""
    scheduler = make_scheduler(name, metric="val_mae", mode="min", epochs=9)
    for index in range(8):
        trial = FakeTrial(f"failed{index}")
        scheduler.on_trial_add(None, trial)
        scheduler.on_trial_result(None, trial, {"epoch": 1, "val_mae": 1.0})
        last = {"ended": True, "status": "failed", "reason": "diverged"}
        assert scheduler.on_trial_result(None, trial, last) == TrialScheduler.CONTINUE
        scheduler.on_trial_complete(None, trial, last)
    assert run(scheduler, "next", 0.5, 9) == 9


@pytest.mark.parametrize("name", sorted(SCHEDULERS.keys() - {"none"}))
def test_what_stops_early_stops_the_bad_among_many(name: str) -> None:
    ran = drive(name, "min", [1.0, 1.1, 0.9, 1.0, 1.2, 0.8] + [50.0] * 6, epochs=9)
    assert ran[2] == ran[5] == 9
    assert sum(ran[6:]) < 6 * 9
