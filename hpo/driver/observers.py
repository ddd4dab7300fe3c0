"""Define what a sweep reports while it runs, and the error that says it was stopped.

Reports go to observers. Prints and logs nothing by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.training.trainer import EpochReport
    from hpo.records.sweep_plan import SweepPlan
    from hpo.records.sweep_state import SweepState


class SweepInterruptedError(KeyboardInterrupt):
    """The user stopped a sweep, named in ``args``; ``resume_sweep`` goes on with it."""


class SweepObserver:
    """Watches a sweep; ignores every report that a subclass does not override."""

    def on_network(self, what: str, epochs: int) -> None:
        """Receive which network the sweep lacks: ``teacher`` or ``pruning base``.

        It is trained for at most so many epochs, unless another process has trained it since.
        """

    def on_teacher_epoch(self, report: EpochReport) -> None:
        """Receive the report of an epoch of that network."""

    def on_teacher_step(self, epoch: int, step: int, steps: int) -> None:
        """Receive the progress of that network after a training step."""

    def on_targets(self, done: int, windows: int) -> None:
        """Receive how many of the training windows have teacher targets."""

    def on_change(self, plan: SweepPlan, state: SweepState) -> None:
        """Receive the sweep's state after a trial began, reported or ended."""


class Observers(SweepObserver):
    """Notifies several observers in their order; an error in one reaches the sweep."""

    def __init__(self, observers: Iterable[SweepObserver]) -> None:
        """Notify ``observers``."""
        self._observers = tuple(observers)

    def on_network(self, what: str, epochs: int) -> None:
        """Notify all of the network that is trained next."""
        for observer in self._observers:
            observer.on_network(what, epochs)

    def on_teacher_epoch(self, report: EpochReport) -> None:
        """Notify all of an epoch of the teacher."""
        for observer in self._observers:
            observer.on_teacher_epoch(report)

    def on_teacher_step(self, epoch: int, step: int, steps: int) -> None:
        """Notify all of a training step of the teacher."""
        for observer in self._observers:
            observer.on_teacher_step(epoch, step, steps)

    def on_targets(self, done: int, windows: int) -> None:
        """Notify all of the progress of the teacher targets."""
        for observer in self._observers:
            observer.on_targets(done, windows)

    def on_change(self, plan: SweepPlan, state: SweepState) -> None:
        """Notify all of the sweep's state."""
        for observer in self._observers:
            observer.on_change(plan, state)
