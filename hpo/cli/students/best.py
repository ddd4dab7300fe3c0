"""Rank the configurations of a dataset over all its sweeps: the command ``hpo best``.

Calls ``hpo.selection.best`` and prints what it returns as a table or JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.display.output import Format, console, error_console, print_json
from hpo.cli.options import STORAGE, AnswerFormat, Storage, integer

if TYPE_CHECKING:
    from rich.table import Table


def best(
    dataset: Annotated[str, typer.Option(help="Which dataset.")],
    method: Annotated[str | None, typer.Option(help="Only this method.")] = None,
    max_parameters: Annotated[
        int | None,
        typer.Option(parser=integer, help="Only students of at most so many parameters."),
    ] = None,
    top: Annotated[int, typer.Option(parser=integer, help="How many at most.")] = 10,
    metric: Annotated[
        str, typer.Option(help="What to judge by, such as val_mae or val_rmse_45; lower is better.")
    ] = "val_mae",
    pareto: Annotated[
        bool,
        typer.Option("--pareto", help="Only those no other beats in both metric and parameters."),
    ] = False,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Show the best configurations over all sweeps of a dataset, by validation error.

    hpo best --dataset pemsd7 --method ord --top 3
    """
    from hpo import selection
    from hpo.cli.display.trial_table import settings_text

    rows = selection.best(
        dataset,
        storage,
        method=method,
        max_parameters=max_parameters,
        top=top,
        metric=metric,
        pareto=pareto,
    )
    if output is Format.json:
        print_json(rows)
        return
    if not rows:
        error_console.print("no finished trial fits; see hpo status", highlight=False)
        return
    console.print(_table(rows, metric))
    for row in rows:
        line = f"{row['rank']}: {settings_text(row['config'])}; {_standing(row['confirmed'])}"
        console.print(line, highlight=False, soft_wrap=True)
    if rows[0]["confirmed"] is None:
        console.print(f"next: hpo confirm {rows[0]['sweep']}", highlight=False)
        console.print(f"      hpo export {rows[0]['sweep']} --top 1", highlight=False)
    else:
        console.print(f"next: hpo export {rows[0]['sweep']} --top 1", highlight=False)


def _standing(known: dict[str, Any] | None) -> str:
    from hpo.cli.students.confirm import in_words

    return "not confirmed" if known is None else f"confirmed: {in_words(known)}"


def _table(rows: list[dict[str, Any]], metric: str) -> Table:
    from rich.table import Table

    shown = list(dict.fromkeys([metric, "val_mae_15", "val_mae_30", "val_mae_45"]))
    table = Table(box=None, pad_edge=False)
    timed = any("latency_ms" in row for row in rows)
    headings = ("rank", "sweep", "trial", "method", *shown, "parameters")
    for heading in (*headings, *(["ms"] if timed else [])):
        table.add_column(heading.removeprefix("val_"), justify="right", no_wrap=True)
    for row in rows:
        values = (row["metrics"].get(name) for name in shown)
        table.add_row(
            str(row["rank"]),
            row["sweep"],
            str(row["trial"]),
            row["method"],
            *("-" if value is None else f"{value:.3f}" for value in values),
            f"{row['parameters']:,}",
            *([_milliseconds(row)] if timed else []),
        )
    return table


def _milliseconds(row: dict[str, Any]) -> str:
    return f"{row['latency_ms']:.2f}" if "latency_ms" in row else "-"
