"""Show everything recorded of one trial, or run it again: the command ``hpo trial NAME TRIAL``.

Calls ``hpo.trials.rerun`` and prints what it returns as tables or JSON.
"""

from __future__ import annotations

from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.families import DEFAULT_FAMILY
from hpo.cli.display.output import (
    Format,
    console,
    error_console,
    print_json,
    print_line,
    print_note,
)
from hpo.cli.options import STORAGE, AnswerFormat, Storage, integer

if TYPE_CHECKING:
    from core.training.trainer import EpochReport
    from hpo.records.sweep_folder import SweepFolder
    from hpo.trials.rerun import Rerun

MOST_DIFFERENCES = 5
"""Differing numbers listed after a rerun."""
FAILED = 1


def trial(
    name: Annotated[str, typer.Argument(help="A sweep's name; `hpo status` shows them.")],
    number: Annotated[
        int, typer.Argument(parser=integer, metavar="TRIAL", help="Which of its trials.")
    ],
    rerun: Annotated[
        bool,
        typer.Option("--rerun", help="Run it again alone, here, and compare the numbers."),
    ] = False,
    confirmation: Annotated[
        bool, typer.Option("--confirmation", help="A run of the sweep's confirmation instead.")
    ] = False,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Show everything recorded of a trial; with --rerun, run it again and compare.

    hpo trial ord-first 10 --rerun
    """
    from hpo.records.sweep_folder import find_sweep
    from hpo.trials.rerun import rerun_trial

    folder = find_sweep(storage.resolve(), name)
    folder = folder.confirmation if confirmation else folder
    facts = _facts(folder, number, confirmation)
    again = rerun_trial(folder, number, _print_epoch) if rerun else None
    if output is Format.json:
        compared = None if again is None else {"same": again.same, **asdict(again)}
        print_json({**facts, "rerun": compared})
    else:
        _show(facts)
        if again is not None:
            _show_rerun(again, facts)
    if again is not None and (again.failure is not None or not again.same):
        raise typer.Exit(FAILED)


def _facts(folder: SweepFolder, number: int, confirmation: bool) -> dict[str, Any]:
    from hpo.trials.rerun import find_trial

    trial, record = find_trial(folder, number)
    plan = folder.read_plan()
    option = " --confirmation" if confirmation else ""
    storage = quote(folder.storage_address)
    return {
        "sweep": folder.name,
        **vars(trial),
        "record": None if record is None else vars(record),
        "family": plan.config.family,
        "student_kept": folder.student(number).is_file(),
        "dataset_fingerprint": plan.dataset_fingerprint,
        "teacher_fingerprint": plan.teacher_fingerprint,
        "base_fingerprint": plan.base_fingerprint,
        "space_fingerprint": plan.space.fingerprint,
        "sweep_command": plan.command,
        "command": f"hpo trial {folder.name} {number}{option} --rerun --storage {storage}",
    }


def _print_epoch(report: EpochReport) -> None:
    error = report.metrics.get("val_mae")
    shown = "" if error is None else f": val_mae {error:.4f}"
    error_console.print(f"epoch {report.epoch} of {report.epochs}{shown}", highlight=False)


def _show(facts: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(facts).items():
        table.add_row(name, value)
    console.print(table)
    if facts["history"]:
        console.print(_history(facts["history"]))
    print_line(f"again: {facts['command']}")


def _lines(facts: dict[str, Any]) -> dict[str, str]:
    from hpo.cli.display.trial_table import settings_text

    record = facts["record"] or {}
    lines = {
        "trial": f"{facts['number']} of {facts['sweep']}",
        "status": facts["status"],
        "reason": facts["reason"],
        "family": None if facts["family"] == DEFAULT_FAMILY else facts["family"],
        "settings": settings_text(facts["settings"]),
        "seed": facts["seed"],
        "parameters": record.get("parameters"),
        "latency, ms": record.get("latency_ms"),
        "best epoch": record.get("best_epoch"),
        "begun": facts["suggested"],
        "ended": record.get("ended"),
        "machine": record.get("machine"),
        "versions": settings_text(record.get("versions", {})),
        "student": _student(facts),
        "fingerprints": _fingerprints(facts),
        "sweep began by": facts["sweep_command"],
    }
    return {name: str(value) for name, value in lines.items() if value not in {None, ""}}


def _student(facts: dict[str, Any]) -> str | None:
    path: str | None = (facts["record"] or {}).get("student")
    if path is None or facts["student_kept"]:
        return path
    return f"{path} (not kept; --rerun trains it again)"


def _fingerprints(facts: dict[str, Any]) -> str:
    kinds = ("dataset", "teacher", "base", "space")
    known = ((kind, facts[f"{kind}_fingerprint"]) for kind in kinds)
    return ", ".join(f"{kind} {digits}" for kind, digits in known if digits)


def _history(history: dict[int, dict[str, float]]) -> Any:
    from rich.table import Table

    wanted = ("val_mae", "val_mae_15", "val_mae_30", "val_mae_45", "train_loss")
    shown = [name for name in wanted if any(name in metrics for metrics in history.values())]
    table = Table("epoch", *shown, box=None, pad_edge=False)
    for epoch, metrics in history.items():
        values = (metrics.get(name) for name in shown)
        table.add_row(str(epoch), *("-" if value is None else f"{value:.4f}" for value in values))
    return table


def _show_rerun(again: Rerun, facts: dict[str, Any]) -> None:
    if again.failure is not None:
        before = "as before" if again.same else "otherwise than before"
        print_note(f"hpo: run again: it failed {before}: {again.failure}")
        return
    if again.same:
        console.print(
            f"run again: the same numbers, in all {again.epochs} epochs and at the end",
            highlight=False,
        )
        if again.restored:
            console.print(
                f"its student is back; next: hpo export {facts['sweep']} --unconfirmed --top N",
                highlight=False,
            )
        return
    console.print(f"run again: {len(again.differences)} numbers differ", highlight=False)
    for one in again.differences[:MOST_DIFFERENCES]:
        console.print(
            f"  {one.where}: {one.name} was {one.recorded}, now {one.now}",
            highlight=False,
            markup=False,
        )
    console.print(
        "the same numbers need the machine and the packages of then, and a CPU: a GPU may sum in "
        f"another order; it ran on {facts['record']['machine']}",
        highlight=False,
        markup=False,
    )
