"""Schedulers by name, and when ASHA stops a trial."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from core.errors import ConfigError, UnknownNameError
from hpo.schedulers import make_scheduler


def stopped_at(scheduler: TrialScheduler, name: str, errors: list[float]) -> int | None:
    """The epoch at which a trial with these errors is stopped, None if it runs to its end."""
    trial = SimpleNamespace(trial_id=name)
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
    late = SimpleNamespace(trial_id="late")
    scheduler.on_trial_add(None, late)
    resumed = {"epoch": 5, "training_iteration": 1, "val_mae": 0.0}
    assert scheduler.on_trial_result(None, late, resumed) == TrialScheduler.STOP
