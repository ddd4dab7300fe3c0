"""Show how a reproduction gets on: a row per contender, what is left, and how long it takes.

Outside a terminal each ended training is a line. Reads the sweeps' files for what is done; runs
nothing.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpo.cli.display.durations import in_words
from hpo.cli.display.output import error_console
from hpo.cli.display.teacher_display import TeacherDisplay
from hpo.driver.observers import SweepInterruptedError
from hpo.records.ledger import ENDED_STATUSES
from hpo.report.wording import in_number
from hpo.reproduction.running import ReproductionObserver

if TYPE_CHECKING:
    from core.training.trainer import EpochReport
    from hpo.records.ledger import SweepState
    from hpo.records.sweep_plan import SweepPlan
    from hpo.reproduction.planning import Part, ReproductionPlan


class ReproductionDisplay(ReproductionObserver):
    """Observes a reproduction of this process."""

    def __init__(self, plan: ReproductionPlan, again: str) -> None:
        """Prepare the display; nothing is shown until something begins.

        Args:
            plan: what runs.
            again: the command that goes on after a stop.
        """
        self._plan, self._again = plan, again
        self._left_before = plan.left
        self._left = {part.config.name: part.left() for part in plan.parts}
        self._current: Part | None = None
        self._doing = ""
        self._teacher = TeacherDisplay()
        self._live = Live(console=error_console, auto_refresh=False, transient=True)
        self._reported: set[int] | None = None
        self._started = time.monotonic()

    def __enter__(self) -> ReproductionDisplay:
        """Return the display."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing, restore the terminal, and print how to go on if the user stopped it."""
        self._live.stop()
        self._teacher.__exit__(kind, error, trace)
        if isinstance(error, SweepInterruptedError):
            _say(f"stopped; next: {self._again}")

    def on_part(self, part: Part, doing: str) -> None:
        """Show what begins for a row."""
        self._current, self._doing, self._reported = part, doing, None
        self._left[part.config.name] = part.left()
        if doing == "done" and not error_console.is_terminal:
            done = sum(not left for left in self._left.values())
            _say(
                f"{part.contender.label}: done, {done} of {len(self._left)} rows{self._remaining()}"
            )
        self._draw()

    def on_teacher_step(self, epoch: int, step: int, steps: int) -> None:
        """Advance the bar of the teacher's training."""
        self._live.stop()
        self._teacher.on_step(epoch, step, steps)

    def on_teacher_epoch(self, report: EpochReport) -> None:
        """Print the errors of the teacher after an epoch."""
        self._teacher.on_epoch(report)

    def on_targets(self, done: int, windows: int) -> None:
        """Advance the bar of the teacher's targets."""
        self._live.stop()
        self._teacher.on_targets(done, windows)

    def on_change(self, plan: SweepPlan, state: SweepState) -> None:
        """Count the trainings that ended."""
        self._teacher.__exit__(None, None, None)
        ended = state.with_status(*ENDED_STATUSES)
        if self._reported is None:
            self._reported = {trial.number for trial in ended}
        part = self._current
        if part is not None:
            searching = self._doing == "search"
            left = plan.config.trials - state.num_ended + (part.seeds if searching else 0)
            self._left[part.config.name] = max(0, left)
        for trial in ended:
            if trial.number not in self._reported:
                self._reported.add(trial.number)
                self._report(trial.metrics.get(plan.config.metric), trial.status)
        self._draw()

    def _report(self, error: float | None, status: str) -> None:
        if error_console.is_terminal or self._current is None or status == "infeasible":
            return
        shown = "" if error is None else f" val_mae {error:.4f}"
        how = "" if status == "finished" else f" {status}"
        _say(f"{self._current.contender.label}, {self._doing}:{shown}{how}{self._remaining()}")

    def _remaining(self) -> str:
        """Return how many trainings are left, and how long they take at this run's pace."""
        left = sum(self._left.values())
        done = self._left_before - left
        if not left:
            return ""
        pace = ""
        if done > 0:
            seconds = (time.monotonic() - self._started) / done * left
            pace = f", about {in_words(seconds)}"
        return f"; {in_number(left, 'training')} left{pace}"

    def _draw(self) -> None:
        if not error_console.is_terminal:
            return
        self._live.start()
        self._live.update(self._drawing(), refresh=True)

    def _drawing(self) -> Group:
        left = sum(self._left.values())
        whole = self._left_before
        bar = Table.grid()
        bar.add_row(ProgressBar(total=max(1, whole), completed=max(0, whole - left), width=60))
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("row", "trainings left", "now"):
            table.add_column(heading)
        for part in self._plan.parts:
            missing = self._left[part.config.name]
            now = self._doing if part is self._current else ("" if missing else "done")
            table.add_row(part.contender.label, str(missing or "-"), now)
        title = f"{self._plan.request.dataset}, {self._plan.request.form} form"
        return Group(Text(f"{title}{self._remaining()}"), bar, table)


def _say(text: str) -> None:
    error_console.print(text, highlight=False, markup=False, soft_wrap=True)
