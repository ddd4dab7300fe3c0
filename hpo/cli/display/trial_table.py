"""Describe trials in lines and in a table.

Chooses which trials to show where there is no room for all. Prints nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from hpo.space.objectives import LATENCY

if TYPE_CHECKING:
    from hpo.records.sweep_plan import SweepOutline
    from hpo.records.sweep_state import SweepState, Trial
    from hpo.sweep_config import SweepConfig


def describe(trial: Trial, objective: str) -> str:
    """Return one line on a trial: number, outcome, settings."""
    if trial.status in {"failed", "infeasible"}:
        return f"trial {trial.number} {trial.status}: {trial.reason}"
    outcome = f"{objective} {trial.metrics[objective]:.4f}" if trial.metrics else trial.status
    if trial.status == "pruned":
        outcome += f" when stopped after epoch {max(trial.history, default=0)}"
    return f"trial {trial.number} {outcome}: {settings_text(trial.settings)}"


def settings_text(settings: dict[str, object]) -> str:
    """Return settings as ``name=value``, numbers rounded to four digits."""
    parts = (
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in settings.items()
    )
    return " ".join(parts)


def trial_table(plan: SweepOutline, state: SweepState, most: int | None = None) -> Table:
    """Return a table of all trials, or of the running and the newest ``most``."""
    objective = plan.config.metric
    table = Table(box=None, pad_edge=False)
    timed = ["ms"] if state.latencies else []
    for heading in ("trial", "state", "epoch", objective, *timed, "settings"):
        table.add_column(heading, justify="left" if heading == "settings" else "right")
    best = state.best(objective)
    for trial in _shown(state, most):
        table.add_row(
            str(trial.number),
            trial.status,
            _epochs(trial, plan.config),
            _value(trial, objective),
            *([_latency(trial)] if timed else []),
            trial.reason or settings_text(trial.settings),
            style="bold" if trial is best else None,
        )
    return table


def failures_text(state: SweepState) -> str | None:
    """Return the number of failed trials and the last one's reason; None if none failed."""
    failed = state.with_status("failed")
    if not failed:
        return None
    return f"{len(failed)} failed, the last, trial {failed[-1].number}: {failed[-1].reason}"


def _shown(state: SweepState, most: int | None) -> list[Trial]:
    """Return all trials, or the running and the newest, at most ``most``."""
    trials = list(state.trials.values())
    if not most or len(trials) <= most:
        return trials
    running = state.with_status("running")[:most]
    # Trials that are never trained would displace those that are.
    ended = [trial for trial in trials if trial.status not in {"running", "infeasible"}]
    newest = ended[max(0, len(ended) + len(running) - most) :]
    return sorted([*newest, *running], key=lambda trial: trial.number)


def _epochs(trial: Trial, config: SweepConfig) -> str:
    # Pruned students are fine-tuned for further epochs.
    most = config.epochs + int(trial.settings.get("fine_tuning_epochs", 0))
    return f"{max(trial.history, default=0)}/{most}"


def _latency(trial: Trial) -> str:
    return f"{trial.sizes[LATENCY]:.2f}" if LATENCY in trial.sizes else ""


def _value(trial: Trial, objective: str) -> str:
    metrics = trial.metrics or (trial.history[max(trial.history)] if trial.history else {})
    return f"{metrics[objective]:.4f}" if objective in metrics else ""
