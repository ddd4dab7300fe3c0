"""Begin a sweep with the settings of another: the command ``hpo clone NAME --name NEW``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.display.durations import read_duration
from hpo.cli.display.output import Format, print_note
from hpo.cli.options import (
    STORAGE,
    Address,
    AnswerFormat,
    DryRun,
    Fixed,
    Mlflow,
    Storage,
    TensorBoard,
    TimeBudget,
    integer,
)
from hpo.cli.sweeps.dry_run import check_and_show
from hpo.cli.sweeps.sweep import find_space, search, with_set

if TYPE_CHECKING:
    from hpo.planning.told_trials import Told
    from hpo.records.sweep_plan import SweepPlan
    from hpo.records.sweep_state import SweepState
    from hpo.space.search_space import SearchSpace
    from hpo.sweep_config import SweepConfig

OtherSpace = Annotated[
    str | None, typer.Option(help="Another search space: YAML, or the name of a built-in one.")
]


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
    space: OtherSpace = None,
    fixed: Fixed = None,
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

    With --space or --set in another space; the sampler then begins with all that the trials of the
    other sweep found there, and trains none of them again.

    hpo clone ord-first --name ord-second --seed 1
    """
    from hpo.planning.extending import clone_of
    from hpo.planning.places import Places
    from hpo.records.ledger import read_ledger
    from hpo.records.sweep_folder import find_sweep
    from hpo.records.sweep_plan import extended_plan

    folder = find_sweep(storage, like)
    state = read_ledger(folder.ledger_file)
    plan = extended_plan(folder.read_plan(), state)
    changes = {"dataset": dataset, "trials": trials, "epochs": epochs, "seed": seed}
    config = clone_of(plan, name, changes)
    seconds = read_duration("--time-budget", time_budget)
    places = Places(data or Path(plan.data_folder), storage, address)
    searched = plan.space
    if space is not None:
        searched = find_space(config.method, space, [], config.form)
    searched = with_set(searched, fixed or [])
    told = _told(plan, state, config, searched) if space or fixed else None
    if dry_run:
        check_and_show(
            config, places, searched, output, tensorboard=tensorboard, mlflow=mlflow, told=told
        )
    else:
        search(config, places, searched, seconds, tensorboard, mlflow, output, told)


def _told(plan: SweepPlan, state: SweepState, config: SweepConfig, space: SearchSpace) -> Told:
    """Return what the sampler begins with, and print how much that is."""
    from hpo.planning.told_trials import told_by

    told = told_by(plan, state, config, space)
    known, ended = len(told.trials), state.num_ended
    others = "; the others lie outside the new space" if known < ended else ""
    print_note(
        f"the sampler begins with {known} of the {ended} ended trials of {told.sweep}{others}"
    )
    return told
