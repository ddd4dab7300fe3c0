"""Observers of a sweep: all are notified, in their order, and an error in one is the sweep's."""

from __future__ import annotations

from typing import Any

import pytest

from core.training.trainer import EpochReport
from hpo.driver.observers import Observers, SweepObserver
from hpo.records.sweep_state import SweepState
from hpo.sweep_config import SweepConfig

METHODS = ("on_network", "on_teacher_epoch", "on_teacher_step", "on_targets", "on_change")


class Notes(SweepObserver):
    """Notes on a shared list what it is notified of."""

    def __init__(self, name: str, notes: list[tuple[Any, ...]]) -> None:
        self._name, self._notes = name, notes

    def on_network(self, what: str, epochs: int) -> None:
        self._notes.append((self._name, "on_network", what, epochs))

    def on_teacher_epoch(self, report: EpochReport) -> None:
        self._notes.append((self._name, "on_teacher_epoch", report))

    def on_teacher_step(self, epoch: int, step: int, steps: int) -> None:
        self._notes.append((self._name, "on_teacher_step", epoch, step, steps))

    def on_targets(self, done: int, windows: int) -> None:
        self._notes.append((self._name, "on_targets", done, windows))

    def on_change(self, plan: Any, state: SweepState) -> None:
        self._notes.append((self._name, "on_change", plan, state))


def arguments() -> dict[str, tuple[Any, ...]]:
    report = EpochReport(1, 2, {"val_mae": 3.0}, best_epoch=1, seconds=0.5)
    plan = SweepConfig("night", "none", "small")
    values = (("teacher", 30), (report,), (1, 2, 3), (4, 5), (plan, SweepState()))
    return dict(zip(METHODS, values, strict=True))


def test_an_observer_has_only_the_methods_that_are_tested_here() -> None:
    assert {name for name in vars(SweepObserver) if name.startswith("on_")} == set(METHODS)
    assert {name for name in vars(Observers) if name.startswith("on_")} == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_all_observers_are_notified_in_their_order(method: str) -> None:
    notes: list[tuple[Any, ...]] = []
    given = arguments()[method]
    getattr(Observers([Notes("logs", notes), Notes("display", notes)]), method)(*given)
    assert notes == [("logs", method, *given), ("display", method, *given)]


@pytest.mark.parametrize("method", METHODS)
def test_an_observer_may_ignore_everything(method: str) -> None:
    assert getattr(SweepObserver(), method)(*arguments()[method]) is None
    assert getattr(Observers([]), method)(*arguments()[method]) is None


def test_an_error_in_one_observer_reaches_the_sweep() -> None:
    class Full(SweepObserver):
        def on_targets(self, done: int, windows: int) -> None:
            raise OSError("the disk is full")

    notes: list[tuple[Any, ...]] = []
    with pytest.raises(OSError, match="disk is full"):
        Observers([Full(), Notes("display", notes)]).on_targets(1, 2)
    assert not notes
