"""When a sweep goes on by itself, and when it ends: Ray is replaced by what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from hpo.driver import drive
from hpo.driver.observers import SweepInterruptedError
from hpo.driver.sweep_run import SweepRun
from hpo.planning.places import Places
from hpo.records.ledger import Ledger
from hpo.sweep import run_sweep
from hpo.sweep_config import SweepConfig

Sweeps = Sequence[tuple[SweepRun, Ledger]]


def rounds(
    places: Places, monkeypatch: pytest.MonkeyPatch, leave: Callable[[int, Ledger], None]
) -> int:
    """Interrupt a sweep of two trials; return how often Ray was started for it."""
    started: list[int] = []

    def tune_trials(sweeps: Sweeps) -> None:
        started.append(len(started))
        assert len(started) < 5
        leave(started[-1], sweeps[0][1])

    monkeypatch.setattr(drive, "tune_trials", tune_trials)
    config = SweepConfig("interrupted", "none", "small", trials=2, epochs=1)
    with pytest.raises(SweepInterruptedError):
        run_sweep(config, places)
    return len(started)


def test_a_stop_between_two_trials_is_a_stop(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rounds(places, monkeypatch, lambda *_: None) == 1


def test_a_stop_during_a_trial_is_a_stop(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(_: int, ledger: Ledger) -> None:
        ledger.append("suggested", trial=0, settings={}, seed=1)

    assert rounds(places, monkeypatch, leave) == 1


def test_only_trials_that_ran_out_of_memory_are_tried_again(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(at: int, ledger: Ledger) -> None:
        if at == 0:
            ledger.append("suggested", trial=0, settings={}, seed=1)
            ledger.append("outgrown", trial=0, gpus_per_trial=0.25)

    assert rounds(places, monkeypatch, leave) == 2
