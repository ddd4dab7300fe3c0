"""Show how a reproduction gets on: a row per contender, what is left, and how long it takes.

Outside a terminal each ended training is a line. Reads the sweeps' files for what is done; runs
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpo.cli.display.durations import in_words
from hpo.cli.display.output import can_redraw, error_console, print_note
from hpo.cli.display.progress.display import Display
from hpo.cli.display.progress.pace import Pace
from hpo.cli.display.progress.teacher_display import TeacherDisplay
from hpo.driver.observers import SweepInterruptedError
from hpo.records.sweep_state import ENDED_STATUSES
from hpo.report.wording import in_number
from hpo.reproduction.running import ReproductionObserver

if TYPE_CHECKING:
    from core.training.trainer import EpochReport
    from hpo.records.sweep_plan import SweepPlan
    from hpo.records.sweep_state import SweepState, Trial
    from hpo.reproduction.planning import Part, ReproductionPlan


class ReproductionDisplay(ReproductionObserver, Display):
    """Observes a reproduction of this process."""

    def __init__(self, plan: ReproductionPlan, again: str) -> None:
        """Prepare the display; nothing is shown until something begins.

        Args:
            plan: what runs.
            again: the command that goes on after a stop.
        """
        self._plan, self._again = plan, again
        self._parts = {part.folder.name: part for part in plan.parts}
        self._left = {name: part.left() for name, part in self._parts.items()}
        self._left_before = sum(self._left.values())
        self._now: dict[str, str] = {}
        """What a row does, by its sweep."""
        self._reported: dict[str, set[int]] = {}
        """Trials that have ended, by sweep, of this stage."""
        self._stage = ""
        self._teacher = TeacherDisplay()
        self._live = Live(console=error_console, auto_refresh=False, transient=True)
        self._pace = Pace()

    def stop(self, error: BaseException | None = None) -> None:
        """Stop drawing, restore the terminal, and print how to go on if the user stopped it."""
        self._live.stop()
        self._teacher.stop(error)
        if isinstance(error, SweepInterruptedError):
            print_note(
                f"stopped with {in_number(self._missing, 'training')} left; next: {self._again}"
            )

    def on_stage(self, stage: str) -> None:
        """Show what begins for all rows."""
        self._stage, self._now, self._reported = stage, {}, {}
        self._draw()

    def on_judged(self, part: Part) -> None:
        """Show that a row is complete."""
        self._now[part.folder.name] = "judged"
        self._draw()

    def on_network(self, what: str, epochs: int) -> None:
        """Note which network is trained, and for how long."""
        self._teacher.begin(what, epochs)

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
        self._teacher.stop()
        name = plan.config.name
        ended = state.with_status(*ENDED_STATUSES)
        known = self._reported.setdefault(name, {trial.number for trial in ended})
        seeds = self._parts[name].seeds if self._stage == "search" else 0
        fixed = self._parts[name].fixed
        self._left[name] = plan.config.trials - state.num_ended + (0 if fixed else seeds)
        running = len(state.with_status("running"))
        self._now[name] = f"{self._stage}: {running} running" if running else ""
        for trial in ended:
            if trial.number not in known:
                known.add(trial.number)
                self._report(name, trial, plan.config.metric)
        self._draw()

    def _report(self, name: str, trial: Trial, metric: str) -> None:
        if can_redraw(error_console) or trial.status == "infeasible":
            return
        error = trial.metrics.get(metric)
        shown = "" if error is None else f" {metric} {error:.4f}"
        how = "" if trial.status == "finished" else f" {trial.status}"
        row = self._parts[name].contender.label
        print_note(f"{self._stage}, {row}:{shown}{how}; {self._remaining()}")

    @property
    def _missing(self) -> int:
        return sum(self._left.values())

    def _remaining(self) -> str:
        """Return how many trainings are left, and how long they take at this run's pace."""
        left, done = self._missing, self._left_before - self._missing
        seconds = self._pace.seconds_left(done, self._left_before)
        pace = f", about {in_words(seconds)}" if seconds and left else ""
        return f"{in_number(left, 'training')} left{pace}"

    def _draw(self) -> None:
        if can_redraw(error_console):
            self._live.start()
            self._live.update(self._drawing(), refresh=True)

    def _drawing(self) -> Group:
        done = self._left_before - self._missing
        bar = Table.grid()
        bar.add_row(ProgressBar(total=max(1, self._left_before), completed=done, width=60))
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("row", "left", "now"):
            table.add_column(heading, no_wrap=True)
        for name, part in self._parts.items():
            left = self._left[name]
            table.add_row(part.contender.label, str(left or "-"), self._now.get(name, ""))
        title = f"{self._plan.request.dataset}, {self._plan.request.form} form"
        return Group(Text(f"{title}: {self._remaining()}"), bar, table)
