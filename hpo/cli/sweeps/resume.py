"""Resume a sweep after any stop: the command ``hpo resume NAME``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.display.durations import read_duration
from hpo.cli.display.output import Format
from hpo.cli.options import (
    STORAGE,
    Address,
    AnswerFormat,
    Mlflow,
    Storage,
    TensorBoard,
    TimeBudget,
    integer,
)
from hpo.cli.sweeps.sweep import find_space, show

if TYPE_CHECKING:
    from hpo.driver.observers import SweepObserver
    from hpo.records.trial_records import TrialRecord


def resume(
    name: Annotated[str, typer.Argument(help="A sweep's name; `hpo status` shows them.")],
    trials: Annotated[
        int | None,
        typer.Option(
            parser=integer, help="How many in all, more than before; also once it has ended."
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            parser=integer, help="Must be what it began with, as --objective and --space."
        ),
    ] = None,
    objective: Annotated[str | None, typer.Option(help="Must be what it began with.")] = None,
    space: Annotated[str | None, typer.Option(help="Must be what it began with.")] = None,
    time_budget: TimeBudget = None,
    tensorboard: TensorBoard = False,
    mlflow: Mlflow = None,
    address: Address = "local",
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Go on with a sweep; trials that ended are never run again.

    hpo resume ord-first --trials 40
    """
    from hpo.planning.extending import check_comparable
    from hpo.planning.places import Places
    from hpo.records.sweep_folder import find_sweep
    from hpo.sweep import resume_sweep

    plan = find_sweep(storage, name).read_plan()
    wanted = None if space is None else find_space(plan.config.method, space, [], plan.config.form)
    check_comparable(plan, {"epochs": epochs, "objective": objective}, wanted)
    seconds = read_duration("--time-budget", time_budget) or math.inf
    places = Places(storage=storage, address=address)

    def run(observer: SweepObserver) -> list[TrialRecord]:
        return resume_sweep(name, places, observer, trials=trials, time_budget=seconds)

    show(run, plan.config, storage / name, tensorboard, mlflow, output)
