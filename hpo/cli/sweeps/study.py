"""Write a sweep as an Optuna study, for optuna-dashboard: ``hpo study NAME --to URL``."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli.display.output import Format, console, print_json
from hpo.cli.options import STORAGE, AnswerFormat, Storage


def study(
    name: Annotated[str, typer.Argument(help="A sweep's name; `hpo status` shows them.")],
    to: Annotated[
        str, typer.Option("--to", metavar="URL", help="An Optuna storage: sqlite:///study.db")
    ],
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Write the trials of a sweep that ended to an Optuna storage, for optuna-dashboard.

    hpo study ord-first --to sqlite:///ord-first.db
    """
    from hpo.outcomes.optuna_export import export_study
    from hpo.records.sweep_folder import find_sweep

    trials = export_study(find_sweep(storage.resolve(), name), to)
    if output is Format.json:
        print_json({"study": name, "trials": trials})
        return
    console.print(f"study {name}: {trials} trials that ended", highlight=False, markup=False)
