"""Print the answer of a sweep that ended: its best trials and the next commands.

Says in one line where there is no student, and ends the command then. Runs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich import box
from rich.table import Table

from hpo.cli.display.beside_last import warn_beside_last
from hpo.cli.display.output import (
    Format,
    console,
    print_json,
    print_line,
    print_note,
)
from hpo.cli.display.trial_table import settings_text
from hpo.records.ranking import commonest_reason, no_student

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpo.records.sweep_plan import SweepPlan
    from hpo.records.trial_records import TrialRecord
    from hpo.sweep_config import SweepConfig

BASELINES = {"repeat_last": "repeating the last observation", "teacher": "the teacher"}


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
        print_line(f"{failed} failed, {reason}")
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
    print_note(f"hpo: {no_student(what, ran, see)}")
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


def _errors(metrics: dict[str, float]) -> list[str]:
    return [f"{metrics[f'val_mae_{minutes}']:.3f}" for minutes in (15, 30, 45)]
