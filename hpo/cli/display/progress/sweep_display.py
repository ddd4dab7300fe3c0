"""Show a running sweep: a live bar and table in a terminal, one line per ended trial elsewhere.

Everything shown while the sweep runs goes to standard error, so that standard output holds the
answer alone. Runs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpo.cli.display import durations
from hpo.cli.display.output import can_redraw, error_console, print_note
from hpo.cli.display.progress.display import Display
from hpo.cli.display.progress.pace import Pace
from hpo.cli.display.progress.teacher_display import TeacherDisplay
from hpo.cli.display.settling import settled_in_words
from hpo.cli.display.trial_table import describe, failures_text, trial_table
from hpo.driver.observers import Observers, SweepInterruptedError, SweepObserver
from hpo.planning.expected_time import seconds_per_trial
from hpo.records.sweep_state import ENDED_STATUSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from core.training.trainer import EpochReport
    from hpo.records.sweep_plan import SweepPlan
    from hpo.records.sweep_state import SweepState
    from hpo.records.trial_records import TrialRecord
    from hpo.sweep_config import SweepConfig

MOST_ROWS = 12
"""Rows of the live table; trials that ended long ago scroll away."""


class SweepDisplay(SweepObserver, Display):
    """Observes a sweep, of this process or another, and shows its progress."""

    def __init__(
        self,
        title: str | None = None,
        again: str | None = None,
        like: Callable[[], Iterable[TrialRecord]] | None = None,
    ) -> None:
        """Prepare the display; nothing is shown until the sweep reports something.

        Args:
            title: of what runs; None: the sweep's name.
            again: the command that goes on after a stop; None: ``hpo resume NAME``.
            like: reads records of other trials, from which the time is expected before any has
                run; None: it is not said before.
        """
        self._title, self._again, self._like = title, again, like
        self.plan: SweepPlan | None = None
        self._state: SweepState | None = None
        self._teacher = TeacherDisplay()
        self._live = Live(console=error_console, auto_refresh=False, transient=True)
        self._reported: set[int] = set()
        self._share_reported = self._settled_reported = False
        self._outgrown: dict[int, float] = {}
        self._pace, self._announced = Pace(patience=0.0), False

    def stop(self, error: BaseException | None = None) -> None:
        """Stop drawing, restore the terminal, and print how to resume if the user stopped it."""
        self._live.stop()
        self._teacher.stop(error)
        name = _stopped_sweep(error)
        if name is not None:
            print_note(
                f"{self._title or name} is stopped; next: {self._again or f'hpo resume {name}'}"
            )

    def _name(self, config: SweepConfig) -> str:
        return self._title or config.name

    def on_network(self, what: str, epochs: int) -> None:
        """Note which network is trained, and for how long."""
        self._teacher.begin(what, epochs)

    def on_teacher_step(self, epoch: int, step: int, steps: int) -> None:
        """Advance the bar of the teacher's training."""
        self._teacher.on_step(epoch, step, steps)

    def on_teacher_epoch(self, report: EpochReport) -> None:
        """Print the errors of the teacher after an epoch."""
        self._teacher.on_epoch(report)

    def on_targets(self, done: int, windows: int) -> None:
        """Advance the bar of the teacher's targets."""
        self._teacher.on_targets(done, windows)

    def on_change(self, plan: SweepPlan, state: SweepState) -> None:
        """Redraw the table, or outside a terminal print the trials that ended."""
        self._state = state
        if self.plan is None:
            self._teacher.stop()
            self._announce(plan, state)
            self._reported = {trial.number for trial in state.with_status(*ENDED_STATUSES)}
            if can_redraw(error_console):
                self._live.start()
        self.plan = plan
        if state.settled is not None and not self._settled_reported:
            self._settled_reported = True
            line = settled_in_words(state.settled, plan.config.metric)
            print_note(line)
        if state.gpu_share is not None and not self._share_reported:
            self._share_reported = True
            print_note(share_in_words(state.gpu_share))
        self._report_outgrown(state)
        left = self._pace.seconds_left(_trials_done(plan.config, state), plan.config.trials)
        if can_redraw(error_console):
            self._live.update(self._drawing(plan, state, left), refresh=True)
        else:
            if not self._announced and left is not None and left >= durations.SHORTEST:
                self._say_time(plan.config, state, f"about {durations.in_words(left)} left")
            self._report_ended(plan.config, state, left)

    def _report_outgrown(self, state: SweepState) -> None:
        """Print which trials ran out of memory, once for each share."""
        for number, share in state.outgrown.items():
            if self._outgrown.get(number) != share:
                print_note(
                    f"trial {number} ran out of memory with {share:g} of a GPU; it is tried again "
                    f"with {min(1.0, 2 * share):g} when the others have ended"
                )
        self._outgrown = dict(state.outgrown)

    def _announce(self, plan: SweepPlan, state: SweepState) -> None:
        """Print how long the trials take, as far as others like them tell."""
        missing = plan.config.trials - state.num_ended
        each = None if self._like is None or not missing else seconds_per_trial(plan, self._like())
        if each is not None and missing * each >= durations.SHORTEST:
            self._say_time(
                plan.config,
                state,
                f"{missing} trials of about {durations.in_words(each)}, "
                f"about {durations.in_words(missing * each)} of one worker",
            )

    def _say_time(self, config: SweepConfig, state: SweepState, text: str) -> None:
        """Print once how long it takes: before the first trial ends nothing else is printed."""
        self._announced = True
        line = f"[{state.num_ended}/{config.trials}] {text}"
        print_note(line)

    def report_remaining_trials(self) -> None:
        """Print how to resume a sweep that ran out of time."""
        if self.plan is None or self._state is None:
            return
        config, done = self.plan.config, self._state.num_ended
        if done < config.trials:
            print_note(
                f"time is up: {done} of {config.trials} trials have ended; next: hpo resume "
                f"{config.name}"
            )

    def _drawing(self, plan: SweepPlan, state: SweepState, left: float | None) -> Group:
        config = plan.config
        done = state.num_ended
        head = Text(
            f"{self._name(config)}: {done} of {config.trials} trials{durations.left_in_words(left)}"
        )
        # A bar alone does not end its line; a table's row does.
        bar = Table.grid()
        bar.add_row(ProgressBar(total=config.trials, completed=done, width=60))
        best = state.best(config.metric)
        line = f"best so far: {describe(best, config.metric)}" if best else "no trial has ended"
        failures = failures_text(state)
        return Group(
            head,
            bar,
            Text(line),
            *([Text(failures, style="red", overflow="ellipsis", no_wrap=True)] if failures else []),
            trial_table(plan, state, MOST_ROWS),
        )

    def _report_ended(self, config: SweepConfig, state: SweepState, left: float | None) -> None:
        for trial in state.with_status(*ENDED_STATUSES):
            if trial.number not in self._reported:
                self._reported.add(trial.number)
                if trial.status == "infeasible":  # there can be hundreds a second
                    continue
                best = state.best(config.metric)
                mark = " (best so far)" if best is trial else ""
                count = f"[{state.num_ended}/{config.trials}]"
                mark += durations.left_in_words(left)
                print_note(f"{count} {describe(trial, config.metric)}{mark}")


def _trials_done(config: SweepConfig, state: SweepState) -> float:
    """Return how many trials have ended, with the shares of those that run."""
    epochs = (max(trial.history, default=0) for trial in state.with_status("running"))
    return state.num_ended + sum(min(1.0, epoch / config.epochs) for epoch in epochs)


def _stopped_sweep(error: BaseException | None) -> str | None:
    """Return the name of the sweep that the user stopped, also before its plan was reported."""
    return str(error.args[0]) if isinstance(error, SweepInterruptedError) else None


def observer_of(
    display: SweepDisplay, sweep: Path, tensorboard: bool, mlflow: str | None
) -> SweepObserver:
    """Return the observers of a sweep: logs for other tools if wanted, and the display."""
    observers: list[SweepObserver] = []
    if tensorboard:
        from hpo.outcomes.tensorboard_logs import TensorBoardLogs
        from hpo.records.layout import TENSORBOARD

        observers.append(TensorBoardLogs(sweep / TENSORBOARD))
    if mlflow is not None:
        from hpo.outcomes.mlflow_logs import MlflowLogs

        observers.append(MlflowLogs(mlflow, print_note))
    return Observers([*observers, display])


def share_in_words(share: dict[str, float]) -> str:
    """Return the measured GPU memory of a trial and the share chosen, in one line."""
    peak, total = (share[name] / 1e9 for name in ("peak", "total"))
    sharing = int(1 / share["gpus_per_trial"])
    return f"the largest student takes {peak:.1f} of a GPU's {total:.1f} GB: " + (
        "one trial per GPU" if sharing == 1 else f"{sharing} trials share one"
    )
