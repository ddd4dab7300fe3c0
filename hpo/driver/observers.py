"""Say what a sweep tells those who watch it, and how it says that it was stopped."""

from __future__ import annotations

from typing import Protocol

from core.training.trainer import EpochReport
from hpo.records.ledger import SweepState
from hpo.records.sweep_plan import SweepPlan


class SweepInterruptedError(KeyboardInterrupt):
    """The user stopped a sweep, named in ``args``; ``resume_sweep`` goes on with it."""


class SweepObserver(Protocol):
    """Watches a sweep; every method may do nothing."""

    def on_teacher_epoch(self, report: EpochReport) -> None:
        """Hear that an epoch of the teacher which the sweep lacked has ended."""

    def on_teacher_step(self, epoch: int, step: int, steps: int) -> None:
        """Hear that a training step of that teacher has ended."""

    def on_targets(self, done: int, windows: int) -> None:
        """Hear how many windows' targets are built of those of the training days."""

    def on_change(self, plan: SweepPlan, state: SweepState) -> None:
        """Hear that a trial began, reported or ended."""


class SilentObserver:
    """Watches and says nothing."""

    def on_teacher_epoch(self, report: EpochReport) -> None:
        """Say nothing."""

    def on_teacher_step(self, epoch: int, step: int, steps: int) -> None:
        """Say nothing."""

    def on_targets(self, done: int, windows: int) -> None:
        """Say nothing."""

    def on_change(self, plan: SweepPlan, state: SweepState) -> None:
        """Say nothing."""


class RelayingObserver:
    """Tells another observer everything; what logs a sweep says more on top of it."""

    def __init__(self, observer: SweepObserver) -> None:
        """Relay to ``observer``."""
        self._observer = observer

    def on_teacher_epoch(self, report: EpochReport) -> None:
        """Pass it on."""
        self._observer.on_teacher_epoch(report)

    def on_teacher_step(self, epoch: int, step: int, steps: int) -> None:
        """Pass it on."""
        self._observer.on_teacher_step(epoch, step, steps)

    def on_targets(self, done: int, windows: int) -> None:
        """Pass it on."""
        self._observer.on_targets(done, windows)

    def on_change(self, plan: SweepPlan, state: SweepState) -> None:
        """Pass it on."""
        self._observer.on_change(plan, state)
