"""Begin a sweep with the settings of another: the command ``hpo clone NAME --name NEW``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.display.durations import read_duration
from hpo.cli.display.output import Format
from hpo.cli.options import (
    STORAGE,
    Address,
    AnswerFormat,
    DryRun,
    Mlflow,
    Storage,
    TensorBoard,
    TimeBudget,
    integer,
)
from hpo.cli.sweeps.dry_run import check_and_show
from hpo.cli.sweeps.sweep import search


def clone(
    like: Annotated[
        str, typer.Argument(metavar="NAME", help="The sweep to copy; it stays as it is.")
    ],
    name: Annotated[str, typer.Option(help="Of the new sweep.")],
    dataset: Annotated[str | None, typer.Option(help="Another dataset.")] = None,
    trials: Annotated[
        int | None, typer.Option(parser=integer, help="Another number of trials.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(parser=integer, help="Another number of epochs.")
    ] = None,
    seed: Annotated[int | None, typer.Option(parser=integer, help="Another seed.")] = None,
    time_budget: TimeBudget = None,
    tensorboard: TensorBoard = False,
    mlflow: Mlflow = None,
    dry_run: DryRun = False,
    address: Address = "local",
    data: Annotated[
        Path | None,
        typer.Option(envvar="HPO_DATA", help="Folder of datasets; by default the sweep's own."),
    ] = None,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Search again as another sweep did: the same settings, space and teacher, from the start.

    hpo clone ord-first --name ord-second --seed 1
    """
    from hpo.planning.extending import clone_of
    from hpo.planning.places import Places
    from hpo.records.ledger import read_ledger
    from hpo.records.sweep_folder import find_sweep
    from hpo.records.sweep_plan import extended_plan

    folder = find_sweep(storage, like)
    plan = extended_plan(folder.read_plan(), read_ledger(folder.ledger_file))
    changes = {"dataset": dataset, "trials": trials, "epochs": epochs, "seed": seed}
    config = clone_of(plan, name, changes)
    seconds = read_duration("--time-budget", time_budget)
    places = Places(data or Path(plan.data_folder), storage, address)
    if dry_run:
        check_and_show(config, places, plan.space, output, tensorboard=tensorboard, mlflow=mlflow)
    else:
        search(config, places, plan.space, seconds, tensorboard, mlflow, output)
