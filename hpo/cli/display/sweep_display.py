"""Show a running sweep: a live bar and table in a terminal, one line per ended trial elsewhere.

Everything shown while the sweep runs goes to standard error, so that standard output holds the
answer alone. Runs nothing.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpo.cli.display import durations
from hpo.cli.display.beside_last import warn_beside_last
from hpo.cli.display.output import Format, console, error_console, print_json
from hpo.cli.display.teacher_display import TeacherDisplay
from hpo.cli.display.trial_table import describe, failures_text, settings_text, trial_table
from hpo.driver.observers import Observers, SweepInterruptedError, SweepObserver
from hpo.records.ledger import ENDED_STATUSES
from hpo.records.ranking import commonest_reason, no_student

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from core.training.trainer import EpochReport
    from hpo.records.ledger import SweepState
    from hpo.records.sweep_plan import SweepPlan
    from hpo.records.trial_records import TrialRecord
    from hpo.sweep_config import SweepConfig

MOST_ROWS = 12
"""Rows of the live table; trials that ended long ago scroll away."""


class SweepDisplay(SweepObserver):
    """Observes a sweep, of this process or another, and shows its progress."""

    def __init__(self, title: str | None = None, again: str | None = None) -> None:
        """Prepare the display; nothing is shown until the sweep reports something.

        Args:
            title: of what runs; None: the sweep's name.
            again: the command that goes on after a stop; None: ``hpo resume NAME``.
        """
        self._title, self._again = title, again
        self.plan: SweepPlan | None = None
        self._state: SweepState | None = None
        self._teacher = TeacherDisplay()
        self._live = Live(console=error_console, auto_refresh=False, transient=True)
        self._reported: set[int] = set()
        self._share_reported = False
        self._started = time.monotonic()
        self._ended_before: int | None = None

    def __enter__(self) -> SweepDisplay:
        """Return the display."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing, restore the terminal, and print how to resume if the user stopped it."""
        self._live.stop()
        self._teacher.__exit__(kind, error, trace)
        name = _stopped_sweep(error)
        if name is not None:
            error_console.print(
                f"{self._title or name} is stopped; next: {self._again or f'hpo resume {name}'}",
                highlight=False,
                soft_wrap=True,
            )

    def _name(self, config: SweepConfig) -> str:
        return self._title or config.name

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
            self.plan, self._ended_before = plan, state.num_ended
            self._teacher.__exit__(None, None, None)
            self._reported = {trial.number for trial in state.with_status(*ENDED_STATUSES)}
            if error_console.is_terminal:
                self._live.start()
        if state.gpu_share is not None and not self._share_reported:
            self._share_reported = True
            error_console.print(share_in_words(state.gpu_share), highlight=False, soft_wrap=True)
        if error_console.is_terminal:
            self._live.update(self._drawing(plan, state), refresh=True)
        else:
            self._report_ended(plan.config, state)

    def report_remaining_trials(self) -> None:
        """Print how to resume a sweep that ran out of time."""
        if self.plan is None or self._state is None:
            return
        config, done = self.plan.config, self._state.num_ended
        if done < config.trials:
            error_console.print(
                f"time is up: {done} of {config.trials} trials have ended; next: hpo resume "
                f"{config.name}",
                highlight=False,
                soft_wrap=True,
            )

    def _drawing(self, plan: SweepPlan, state: SweepState) -> Group:
        config = plan.config
        done = state.num_ended
        head = Text(
            f"{self._name(config)}: {done} of {config.trials} trials{self._time_left(config, done)}"
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

    def _time_left(self, config: SweepConfig, done: int) -> str:
        ended_now = done - (self._ended_before or 0)
        if not ended_now or done >= config.trials:
            return ""
        left = (time.monotonic() - self._started) / ended_now * (config.trials - done)
        return f", about {durations.in_words(left)} left"

    def _report_ended(self, config: SweepConfig, state: SweepState) -> None:
        for trial in state.with_status(*ENDED_STATUSES):
            if trial.number not in self._reported:
                self._reported.add(trial.number)
                if trial.status == "infeasible":  # there can be hundreds a second
                    continue
                best = state.best(config.metric)
                mark = " (best so far)" if best is trial else ""
                count = f"[{state.num_ended}/{config.trials}]"
                error_console.print(
                    f"{count} {describe(trial, config.metric)}{mark}",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )


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

        observers.append(MlflowLogs(mlflow, _warn))
    return Observers([*observers, display])


def _warn(text: str) -> None:
    error_console.print(text, highlight=False, markup=False, soft_wrap=True)


def share_in_words(share: dict[str, float]) -> str:
    """Return the measured GPU memory of a trial and the share chosen, in one line."""
    peak, total = (share[name] / 1e9 for name in ("peak", "total"))
    sharing = int(1 / share["gpus_per_trial"])
    return f"the largest student takes {peak:.1f} of a GPU's {total:.1f} GB: " + (
        "one trial per GPU" if sharing == 1 else f"{sharing} trials share one"
    )


def answer(
    config: SweepConfig,
    records: list[TrialRecord],
    plan: SweepPlan | None,
    output: Format,
) -> None:
    """Print the best trials of a sweep and the next commands, or JSON of the result."""
    ranked = sorted(
        (record for record in records if record.status == "finished"),
        key=lambda record: record.metrics[config.metric],
    )
    if output is Format.json:
        print_json(
            {
                "sweep": config.name,
                "trials": sum(record.status != "infeasible" for record in records),
                "failed": sum(record.status == "failed" for record in records),
                "best": vars(ranked[0]) if ranked else None,
            }
        )
        return
    console.print(_result_table(config, ranked[:5], plan))
    reason = commonest_reason(records)
    if reason is not None and ranked:
        failed = sum(record.status == "failed" for record in records)
        console.print(f"{failed} failed, {reason}", highlight=False, markup=False, soft_wrap=True)
    if len(config.objectives) > 1:
        console.print(f"Pareto front: hpo status {config.name}", highlight=False)
    repeated = {} if plan is None else plan.baselines.get("repeat_last", {})
    what = f"the best student of {config.name}"
    if ranked and warn_beside_last(what, ranked[0].metrics, repeated, config.metric):
        console.print(f"next: hpo best --dataset {config.dataset}", highlight=False)
        console.print(f"      hpo export {config.name} --top 1", highlight=False)


def fail_without_student(records: Sequence[TrialRecord], what: str, see: str) -> None:
    """End the command with exit code 1 and the commonest reason if no trial that ran finished.

    Args:
        records: of all trials.
        what: they are of, in words.
        see: the command that shows them.
    """
    ran = [record for record in records if record.status != "infeasible"]
    if not ran or any(record.status == "finished" for record in ran):
        return
    error_console.print(
        f"hpo: {no_student(what, ran, see)}", highlight=False, markup=False, soft_wrap=True
    )
    raise typer.Exit(1)


def _result_table(config: SweepConfig, ranked: list[TrialRecord], plan: SweepPlan | None) -> Table:
    which = "the best single trials"  # a sweep confirms nothing
    title = f"{config.name}: {which} by {config.metric}; validation MAE at 15, 30, 45 minutes"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("trial", "15 min", "30 min", "45 min"):
        table.add_column(heading, justify="right")
    table.add_column("settings")
    for record in ranked:
        table.add_row(str(record.trial), *_errors(record.metrics), settings_text(record.settings))
    if plan is not None:
        table.add_section()
        for name, metrics in plan.baselines.items():
            table.add_row("", *_errors(metrics), BASELINES[name])
    return table


BASELINES = {"repeat_last": "repeating the last observation", "teacher": "the teacher"}


def _errors(metrics: dict[str, float]) -> list[str]:
    return [f"{metrics[f'val_mae_{minutes}']:.3f}" for minutes in (15, 30, 45)]
