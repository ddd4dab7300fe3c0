"""Show the training of a teacher and the building of its targets.

A bar in a terminal, a line per epoch elsewhere. Trains nothing.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hpo.cli.display.output import LOOKS_AHEAD, console, error_console

if TYPE_CHECKING:
    from core.training.teachers import Teacher
    from core.training.trainer import EpochReport


class TeacherDisplay:
    """Shows the progress of a teacher and its targets on standard error."""

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
            disable=not error_console.is_terminal,
        )
        self._bar = self._progress.add_task("teacher", visible=False)

    def __enter__(self) -> TeacherDisplay:
        """Return the display."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing and restore the terminal."""
        self._progress.stop()

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        """Advance the bar of ``epoch``."""
        self._progress.start()
        self.trained = True
        self._progress.update(
            self._bar,
            description=f"teacher, epoch {epoch}",
            completed=step,
            total=steps,
            visible=True,
        )

    def on_targets(self, done: int, windows: int) -> None:
        """Advance the bar of the targets; print a line when all are built."""
        self._progress.start()
        self._progress.update(
            self._bar,
            description="what the teacher says of",
            completed=done,
            total=windows,
            visible=done < windows,
        )
        if done == windows:
            self._progress.console.print(
                f"stored what the teacher says of {windows:,} windows", highlight=False
            )

    def on_epoch(self, report: EpochReport) -> None:
        """Print the validation errors after an epoch."""
        errors = " / ".join(f"{report.metrics[f'val_mae_{at}']:.3f}" for at in (15, 30, 45))
        self._progress.console.print(
            f"teacher epoch {report.epoch}/{report.epochs}: validation MAE {errors}"
            f" (15/30/45 min){', best so far' if report.is_best else ''}, {report.seconds:.0f} s",
            highlight=False,
        )


def show_teacher(
    teacher: Teacher, repeat_last: dict[str, float], trained: bool, looks_ahead: bool
) -> None:
    """Print the validation errors of a teacher and of repeating the last observation."""
    how = f"trained in {teacher.seconds:.0f} s" if trained else "was there already"
    if "sweep" in teacher.settings:
        how = f"trial {teacher.settings['trial']} of {teacher.settings['sweep']}"
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
        console.print(LOOKS_AHEAD, highlight=False, soft_wrap=True)
