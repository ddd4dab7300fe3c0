"""``hpo status [NAME]``: how sweeps stand, from any terminal, also while they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.options import STORAGE, AnswerFormat, Storage
from hpo.cli.output import Format

if TYPE_CHECKING:
    from hpo.sweep_store import SweepFolder


def status(
    name: Annotated[str | None, typer.Argument(help="A sweep's name; by default all.")] = None,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Show how one sweep stands, or all of them."""
    from hpo.sweep_store import all_sweeps, find_sweep

    if name is not None:
        _show_one(find_sweep(storage, name), output)
    else:
        _show_all(all_sweeps(storage), output)


def _summary(folder: SweepFolder) -> dict[str, Any]:
    from hpo.ledger import read_ledger

    plan, state = folder.read_plan(), read_ledger(folder.ledger_file)
    best = state.best(plan.config.objective)
    return {
        "sweep": folder.name,
        "method": plan.config.method,
        "dataset": plan.config.dataset,
        "state": _state(folder, state.num_ended >= plan.config.trials),
        "trials": plan.config.trials,
        **{key: len(state.with_status(key)) for key in ("finished", "pruned", "failed", "running")},
        "objective": plan.config.objective,
        "best": best.metrics[plan.config.objective] if best else None,
        "best_trial": best.number if best else None,
    }


def _state(folder: SweepFolder, complete: bool) -> str:
    if complete:
        return "complete"
    return "running" if folder.is_driven() else "stopped"


def _show_one(folder: SweepFolder, output: Format) -> None:
    from hpo.cli.output import console, print_json
    from hpo.cli.sweep_display import trial_table
    from hpo.ledger import read_ledger

    summary = _summary(folder)
    state = read_ledger(folder.ledger_file)
    if output is Format.json:
        print_json({**summary, "details": [vars(trial) for trial in state.trials.values()]})
        return
    plan = folder.read_plan()
    console.print(trial_table(plan, state))
    done = summary["finished"] + summary["pruned"] + summary["failed"]
    console.print(
        f"{folder.name} is {summary['state']}: {done} of {summary['trials']} trials ended"
        f" ({summary['pruned']} pruned, {summary['failed']} failed)",
        highlight=False,
    )
    if summary["state"] == "stopped":
        console.print(f"next: hpo resume {folder.name}", highlight=False)


def _show_all(folders: list[SweepFolder], output: Format) -> None:
    from rich.table import Table

    from hpo.cli.output import console, print_json

    summaries = [_summary(folder) for folder in folders]
    if output is Format.json:
        print_json(summaries)
        return
    columns = ("sweep", "method", "dataset", "state", "finished", "trials", "failed", "best")
    table = Table(*columns, box=None, pad_edge=False)
    for summary in summaries:
        best = "" if summary["best"] is None else f"{summary['objective']} {summary['best']:.4f}"
        table.add_row(*(str(summary[key]) for key in columns[:-1]), best)
    console.print(table if summaries else "no sweep yet; begin with `hpo sweep METHOD`")
