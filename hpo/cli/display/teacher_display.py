"""How work on a teacher looks: a bar in a terminal, a line per epoch elsewhere.

Its training, and the building of what students imitate.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hpo.cli.display.output import console, error_console

if TYPE_CHECKING:
    from core.training.teachers import Teacher
    from core.training.trainer import EpochReport


class TeacherDisplay:
    """Shows on standard error how far a teacher and its targets are."""

    def __init__(self) -> None:
        """Show nothing yet: the teacher may be there already."""
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
        """Show nothing before there is something to show."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        """Move the bar of ``epoch``."""
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
        """Move the bar of the targets; say when all are built."""
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
        """Print what an epoch gave."""
        errors = " / ".join(f"{report.metrics[f'val_mae_{at}']:.3f}" for at in (15, 30, 45))
        self._progress.console.print(
            f"teacher epoch {report.epoch}/{report.epochs}: validation MAE {errors}"
            f" (15/30/45 min){', best so far' if report.is_best else ''}, {report.seconds:.0f} s",
            highlight=False,
        )


def show_teacher(teacher: Teacher, repeat_last: dict[str, float], trained: bool) -> None:
    """Print a teacher's validation errors beside those of repeating the last observation."""
    how = f"trained in {teacher.seconds:.0f} s" if trained else "was there already"
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
