"""Schedulers by name, and when ASHA stops a trial."""

from __future__ import annotations

import pytest
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from core.errors import ConfigError, UnknownNameError
from hpo.search.schedulers import make_scheduler


class FakeTrial:
    """As much of Ray's trial as schedulers look at."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def stopped_at(scheduler: TrialScheduler, name: str, errors: list[float]) -> int | None:
    """The epoch at which a trial with these errors is stopped, None if it runs to its end."""
    trial = FakeTrial(name)
    scheduler.on_trial_add(None, trial)
    for epoch, error in enumerate(errors, 1):
        result = {"epoch": epoch, "val_mae": error}
        if scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
            return epoch
    return None


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown scheduler 'ahsa'; did you mean 'asha'\?"):
        make_scheduler("ahsa", metric="val_mae", mode="min", epochs=5)


@pytest.mark.parametrize("epochs", [0, -1])
def test_a_trial_needs_an_epoch(epochs: int) -> None:
    with pytest.raises(ConfigError, match=rf"epochs must be at least 1, got {epochs}; .*--epochs"):
        make_scheduler("asha", metric="val_mae", mode="min", epochs=epochs)


@pytest.mark.parametrize("name", ["none", "asha"])
def test_one_epoch_leaves_nothing_to_stop(name: str) -> None:
    scheduler = make_scheduler(name, metric="val_mae", mode="min", epochs=1)
    assert type(scheduler) is FIFOScheduler


def test_none_stops_nothing() -> None:
    scheduler = make_scheduler("none", metric="val_mae", mode="min", epochs=15)
    assert stopped_at(scheduler, "good", [1.0] * 15) is None
    assert stopped_at(scheduler, "bad", [99.0] * 15) is None


def test_asha_stops_the_worse_after_a_fifth_of_the_epochs_and_again_at_three_times() -> None:
    scheduler = make_scheduler("asha", metric="val_mae", mode="min", epochs=15)
    assert stopped_at(scheduler, "good", [1.0] * 15) is None
    assert stopped_at(scheduler, "bad", [2.0] * 15) == 3
    assert stopped_at(scheduler, "fading", [0.5] * 8 + [2.0] * 7) == 9
    assert stopped_at(scheduler, "best", [0.1] * 15) is None


@pytest.mark.parametrize("epochs", [2, 3, 5, 9, 15, 27, 45])
def test_asha_lets_a_trial_end_that_only_its_last_epoch_spoils(epochs: int) -> None:
    scheduler = make_scheduler("asha", metric="val_mae", mode="min", epochs=epochs)
    assert stopped_at(scheduler, "good", [1.0] * epochs) is None
    assert stopped_at(scheduler, "spoilt", [0.5] * (epochs - 1) + [99.0]) is None


def test_asha_reads_the_key_epoch_and_the_mode() -> None:
    scheduler = make_scheduler("asha", metric="val_mae", mode="max", epochs=15)
    assert stopped_at(scheduler, "good", [2.0] * 15) is None
    assert stopped_at(scheduler, "bad", [1.0] * 15) == 3
    late = FakeTrial("late")
    scheduler.on_trial_add(None, late)
    resumed = {"epoch": 5, "training_iteration": 1, "val_mae": 0.0}
    assert scheduler.on_trial_result(None, late, resumed) == TrialScheduler.STOP


def test_hyperband_deals_trials_to_brackets_the_same_way_every_time() -> None:
    """Of six trials three are in the quickest bracket, two in the next, one is never stopped."""
    for _ in range(2):
        scheduler = make_scheduler("hyperband", metric="val_mae", mode="min", epochs=27)
        good = [stopped_at(scheduler, f"good{index}", [1.0] * 27) for index in range(6)]
        bad = [stopped_at(scheduler, f"bad{index}", [9.0] * 27) for index in range(6)]
        assert good == [None] * 6
        assert bad == [3, 3, 3, 9, 9, None]


def test_median_needs_three_others_and_a_fifth_of_the_epochs() -> None:
    scheduler = make_scheduler("median", metric="val_mae", mode="min", epochs=15)
    assert stopped_at(scheduler, "worst", [9.0] * 15) is None
    assert [stopped_at(scheduler, f"t{error}", [float(error)] * 15) for error in (1, 2)] == [
        None,
        None,
    ]
    # The median of 9, 1 and 2 is 2.
    assert stopped_at(scheduler, "bad", [3.0] * 15) == 3
    assert stopped_at(scheduler, "same", [2.0] * 15) is None


def test_median_compares_the_best_with_the_means_so_far() -> None:
    scheduler = make_scheduler("median", metric="val_mae", mode="min", epochs=15)
    for index in range(3):
        stopped_at(scheduler, f"falling{index}", [8.0 - 0.5 * epoch for epoch in range(1, 16)])
    # In epoch 3 the others' mean is 6.5; by epoch 14 it is 3.75.
    assert stopped_at(scheduler, "once good", [6.5] + [20.0] * 14) == 4
    assert stopped_at(scheduler, "good enough", [3.7] + [20.0] * 14) is None
