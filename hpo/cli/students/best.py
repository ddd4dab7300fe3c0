"""Rank the configurations of a dataset over all its sweeps: the command ``hpo best``.

Calls ``hpo.selection.rank`` and prints what it returns as tables or JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.display.output import Format, console, error_console, print_json, print_line
from hpo.cli.options import STORAGE, AnswerFormat, Storage, integer

if TYPE_CHECKING:
    from rich.table import Table

    from hpo.records.ranked_trials import RankedTrial
    from hpo.selection import Ranking


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

    Those confirmed on fresh seeds come first, by their mean; then single trials, by their own.

    hpo best --dataset pemsd7 --method ord --top 3
    """
    from hpo import selection

    found = selection.rank(
        dataset,
        storage,
        method=method,
        max_parameters=max_parameters,
        top=top,
        metric=metric,
        pareto=pareto,
    )
    if output is Format.json:
        print_json([one.to_json() for one in found.trials])
    elif found.trials:
        _show(found, metric)
        _show_next(dataset, found.trials[0], metric)
    else:
        error_console.print("no finished trial fits; see hpo status", highlight=False)


def _show(found: Ranking, metric: str) -> None:
    from hpo.cli.display.trial_table import settings_text
    from hpo.records.ranked_trials import luck_in_words

    groups = {
        f"confirmed: {metric} over fresh seeds": [one for one in found.trials if one.confirmed],
        f"not confirmed: single trials; {luck_in_words(found.finished, found.luck)}": [
            one for one in found.trials if not one.confirmed
        ],
    }
    for title, rows in groups.items():
        if rows:
            print_line(title)
            console.print(_table(rows, metric))
    for one in found.trials:
        line = f"{one.rank}: {settings_text(one.configuration)}{_standing(one, metric)}"
        print_line(line)


def _standing(one: RankedTrial, metric: str) -> str:
    """Say what a confirmation showed, and whether the configuration is of any use."""
    from hpo.cli.students.confirm import standing_in_words

    said = f"; confirmed: {standing_in_words(one.confirmed)}" if one.confirmed else ""
    if one.better_than_last or one.repeat_last is None:
        return said
    level = one.repeat_last[metric]
    return f"{said}; no better than repeating the last reading, which has {level:.3f}"


def _show_next(dataset: str, first: RankedTrial, metric: str) -> None:
    from hpo.cli.display.beside_last import warn_beside_last

    what = f"the best configuration of {dataset}"
    if not warn_beside_last(what, first.errors, first.repeat_last or {}, metric):
        return
    export = f"hpo export {first.sweep} --top 1"
    lines = [export] if first.confirmed else [f"hpo confirm {first.sweep}", export]
    for line, begin in zip(lines, ("next: ", "      "), strict=False):
        console.print(begin + line, highlight=False)


def _table(rows: Sequence[RankedTrial], metric: str) -> Table:
    from rich.table import Table

    from hpo.cli.students.confirm import rank_in_words

    others = [name for name in ("val_mae_15", "val_mae_30", "val_mae_45") if name != metric]
    table = Table(box=None, pad_edge=False)
    timed = any(one.latency_ms is not None for one in rows)
    headings = ("rank", "sweep", "trial", "method", metric, *others, "parameters")
    for heading in (*headings, *(["ms"] if timed else [])):
        # Names of sweeps alone may break where a terminal is narrow.
        whole = heading != "sweep"
        name = heading.removeprefix("val_")
        table.add_column(name, justify="right", no_wrap=whole, overflow="fold")
    for one in rows:
        table.add_row(
            rank_in_words(one.rank, one.confirmed),
            one.sweep,
            str(one.trial),
            one.method,
            _error(one, metric),
            *(_number(one.errors.get(name)) for name in others),
            f"{one.parameters:,}",
            *([_number(one.latency_ms, 2)] if timed else []),
        )
    return table


def _error(one: RankedTrial, metric: str) -> str:
    from hpo.cli.students.confirm import mean_in_words

    if one.confirmed is not None:
        return mean_in_words(one.confirmed.summary())
    return _number(one.metrics.get(metric))


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
