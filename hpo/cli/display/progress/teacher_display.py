"""Show the training of a teacher or a pruning base, and the building of a teacher's targets.

A bar in a terminal, a line per epoch elsewhere; how long it takes is said after a few steps.
Trains nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hpo.cli.display import durations
from hpo.cli.display.output import LOOKS_AHEAD, can_redraw, console, error_console, print_line
from hpo.cli.display.progress.display import Display
from hpo.cli.display.progress.pace import Pace

if TYPE_CHECKING:
    from core.training.teachers import Teacher
    from core.training.trainer import EpochReport


class TeacherDisplay(Display):
    """Shows the progress of a network before the sweep, and of its targets, on standard error."""

    def __init__(self) -> None:
        """Prepare the bar; nothing is shown unless a teacher is trained or targets are built."""
        self.trained = False
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=error_console,
            transient=True,
            disable=not can_redraw(error_console),
        )
        self._bar = self._progress.add_task("", visible=False)
        self._targets_pace, self._targets_announced = Pace(), False
        self.begin("teacher", 0)

    def stop(self, error: BaseException | None = None) -> None:
        """Stop drawing and restore the terminal."""
        self._progress.stop()

    def begin(self, what: str, epochs: int) -> None:
        """Say which network is trained next, and for how many epochs at most."""
        self._what, self._epochs = what, epochs
        self._pace, self._announced = Pace(), False

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        """Advance the bar of ``epoch``; once its pace is known, say how long all epochs take."""
        self._progress.start()
        self.trained = True
        done = epoch - 1 + step / steps
        left = self._pace.seconds_left(done, max(self._epochs, epoch))
        if left is not None and not self._announced and done < self._epochs:
            self._announce(left / (self._epochs - done))
        self._progress.update(
            self._bar,
            description=f"{self._what}, epoch {epoch}{durations.left_in_words(left)}",
            completed=step,
            total=steps,
            visible=True,
        )

    def _announce(self, seconds: float) -> None:
        """Print how long the training takes, given the seconds of an epoch."""
        self._announced = True
        if seconds * self._epochs >= durations.SHORTEST:
            self._print(
                f"training the {self._what}: about {durations.in_words(seconds * self._epochs)}, "
                f"at most {self._epochs} epochs of about {durations.in_words(seconds)}"
            )

    def on_targets(self, done: int, windows: int) -> None:
        """Advance the bar of the targets; say how long they take, and when all are built."""
        self._progress.start()
        left = self._targets_pace.seconds_left(done, windows)
        if left is not None and left >= durations.SHORTEST and not self._targets_announced:
            self._targets_announced = True
            self._print(f"storing what the teacher says: about {durations.in_words(left)}")
        self._progress.update(
            self._bar,
            description=f"what the teacher says{durations.left_in_words(left)}, windows",
            completed=done,
            total=windows,
            visible=done < windows,
        )
        if done == windows:
            self._targets_pace, self._targets_announced = Pace(), False
            self._print(f"stored what the teacher says of {windows:,} windows")

    def on_epoch(self, report: EpochReport) -> None:
        """Print the validation errors after an epoch."""
        errors = " / ".join(f"{report.metrics[f'val_mae_{at}']:.3f}" for at in (15, 30, 45))
        left = report.seconds / report.epoch * (report.epochs - report.epoch)
        self._print(
            f"{self._what} epoch {report.epoch}/{report.epochs}: validation MAE {errors}"
            f" (15/30/45 min){', best so far' if report.is_best else ''}, {report.seconds:.0f} s"
            f"{durations.left_in_words(left)}"
        )

    def _print(self, line: str) -> None:
        self._progress.console.print(line, highlight=False, soft_wrap=True)


def show_teacher(
    teacher: Teacher, repeat_last: dict[str, float], trained: bool, looks_ahead: bool
) -> None:
    """Print the validation errors of a teacher and of repeating the last observation."""
    how = f"trained in {teacher.seconds:.0f} s" if trained else "was there already"
    if "sweep" in teacher.settings:
        how = f"trial {teacher.settings['trial']} of {teacher.settings['sweep']}"
    if teacher.is_ensemble:
        how = f"{len(teacher.configs)} networks, weighed by {teacher.settings['weighting']}"
    table = Table(title=f"teacher {teacher.fingerprint} ({how})")
    table.add_column("validation MAE")
    for minutes in (15, 30, 45):
        table.add_column(f"{minutes} min", justify="right")
    rows = {
        "teacher": {name.removeprefix("val_"): value for name, value in teacher.metrics.items()},
        "repeating the last observation": repeat_last,
    }
    for name, metrics in rows.items():
        table.add_row(name, *(f"{metrics[f'mae_{minutes}']:.3f}" for minutes in (15, 30, 45)))
    console.print(table)
    if looks_ahead:
        print_line(LOOKS_AHEAD)
