"""``hpo sweep METHOD``: search for the best student of a dataset."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hpo.cli.display.durations import read_duration
from hpo.cli.display.output import Format
from hpo.cli.options import (
    DATA,
    STORAGE,
    Address,
    AnswerFormat,
    DataFolder,
    DryRun,
    Mlflow,
    Storage,
    TensorBoard,
    TimeBudget,
)

if TYPE_CHECKING:
    from hpo.planning.places import Places
    from hpo.space.search_space import SearchSpace
    from hpo.sweep_config import SweepConfig


def sweep(
    method: Annotated[
        str,
        typer.Argument(help="none, rd_l2, rd_kl, skd, ord, tcd, scd or stcd; or prune, with any."),
    ],
    dataset: Annotated[str, typer.Option(help="A dataset's name; `hpo data list` shows them.")],
    trials: Annotated[int, typer.Option(help="How many configurations to try.")] = 20,
    epochs: Annotated[
        int, typer.Option(help="The most epochs of a trial; of prune without the fine-tuning.")
    ] = 30,
    name: Annotated[
        str | None, typer.Option(help="Of the sweep; by default method, dataset and time.")
    ] = None,
    sampler: Annotated[str, typer.Option(help="tpe, random, gp, cmaes, nsga2 or qmc.")] = "tpe",
    scheduler: Annotated[
        str,
        typer.Option(help="none, or asha, hyperband or median to stop bad trials early."),
    ] = "none",
    objective: Annotated[
        str,
        typer.Option(
            help="What to minimise: val_mae, or with costs, val_mae,parameters,latency_ms."
        ),
    ] = "val_mae",
    max_parameters: Annotated[
        int | None,
        typer.Option(help="The most a student may have; what prune goes to by itself."),
    ] = None,
    max_latency_ms: Annotated[
        float | None,
        typer.Option(help="The longest a student's forecast may take here, on one CPU thread."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="table1|teacher",
            help="What prune starts from: the pruning base of Table 1, or the teacher.",
            show_default="table1",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="What teaches while pruning; none prunes alone.", show_default="stcd"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sampler and of every trial.")] = 0,
    teacher: Annotated[
        str | None, typer.Option(help="A teacher's fingerprint; by default the best there is.")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(help="A search space of your own, YAML, or widths: student widths too."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Hold a setting at one value."),
    ] = None,
    cpus_per_trial: Annotated[int, typer.Option(help="CPU cores of a trial.")] = 1,
    gpus_per_trial: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|auto", help="GPUs of a trial, or a share of one; auto measures it."
        ),
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(help="Trials at once; by default as many as there is room for.")
    ] = None,
    targets_gigabytes: Annotated[
        float, typer.Option(help="Memory for what is stored of the teacher, on each machine.")
    ] = 1.5,
    keep_checkpoints: Annotated[
        int | None,
        typer.Option(help="Keep the students of so many trials, the best; by default of all."),
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(help="Pairs of sensors SCD compares per time step; by default all."),
    ] = None,
    cuda_graphs: Annotated[
        bool,
        typer.Option("--cuda-graphs", help="Replay recorded training steps: fewer GPU launches."),
    ] = False,
    warm_start: Annotated[
        str | None,
        typer.Option(help="A sweep, also of another dataset, whose best to try first."),
    ] = None,
    time_budget: TimeBudget = None,
    tensorboard: TensorBoard = False,
    mlflow: Mlflow = None,
    dry_run: DryRun = False,
    address: Address = "local",
    data: DataFolder = DATA,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Search for the best student that METHOD gives on a dataset.

    Trains a teacher first if the method needs one and there is none. Stop it at any time;
    `hpo resume NAME` goes on.
    """
    from hpo.planning.places import Places
    from hpo.planning.warm_start import with_best_of
    from hpo.records.sweep_folder import find_sweep
    from hpo.sweep_config import SweepConfig

    config = SweepConfig(
        name=name or f"{method}-{dataset}-{datetime.now():%Y%m%d-%H%M%S}",
        method=method,
        dataset=dataset,
        trials=trials,
        epochs=epochs,
        sampler=sampler,
        scheduler=scheduler,
        objective=objective,
        max_parameters=max_parameters,
        max_latency_ms=max_latency_ms,
        base=base,
        loss=loss,
        seed=seed,
        teacher=teacher,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=_read_gpus(gpus_per_trial),
        max_concurrent=max_concurrent,
        targets_gigabytes=targets_gigabytes,
        keep_checkpoints=keep_checkpoints,
        pairs=pairs,
        cuda_graphs=cuda_graphs,
    )
    seconds = read_duration("--time-budget", time_budget)
    searched = find_space(method, space, settings or [])
    if warm_start is not None:
        searched = with_best_of(searched, find_sweep(storage, warm_start))
    places = Places(data, storage, address)
    if dry_run:
        print_plan(config, places, searched)
    else:
        search(config, places, searched, seconds, tensorboard, mlflow, output)


def search(
    config: SweepConfig,
    places: Places,
    space: SearchSpace,
    seconds: float | None,
    tensorboard: bool,
    mlflow: str | None,
    output: Format,
) -> None:
    """Run a sweep, show it and what came of it."""
    from hpo.cli.display.sweep_display import SweepDisplay, answer, observer_of
    from hpo.sweep import run_sweep

    with SweepDisplay() as display:
        watching = observer_of(display, places.storage / config.name, tensorboard, mlflow)
        records = run_sweep(config, places, space, watching, seconds or math.inf)
    answer(config, records, display.plan, output)
    display.tell_what_is_left()


def print_plan(config: SweepConfig, places: Places, space: SearchSpace) -> None:
    """Check everything and print the plan."""
    from hpo.cli.display.output import print_json
    from hpo.planning.sweep_planning import plan_sweep

    plan, _ = plan_sweep(config, places, space)
    fitted, teacher = plan.space.to_json(), plan.teacher_fingerprint
    print_json({"sweep": config.to_json(), "space": fitted, "teacher": teacher})


def _read_gpus(text: str | None) -> float | Literal["auto"] | None:
    from core.errors import ConfigError

    try:
        return None if text is None else "auto" if text == "auto" else float(text)
    except ValueError as error:
        raise ConfigError(f"--gpus-per-trial takes a number or auto, got {text!r}") from error


def find_space(method: str, name: str | None, settings: list[str]) -> SearchSpace:
    """Return what ``--space`` and ``--set`` ask for."""
    from core.errors import ConfigError
    from hpo.space.search_space import built_in_search_space, load_search_space

    # A name of ours has neither a folder nor an ending.
    if name is None or (Path(name).name == name and not Path(name).suffix):
        space = built_in_search_space(name or method)
    else:
        space = load_search_space(Path(name))
    fixed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key or not value:
            raise ConfigError(f"--set takes KEY=VALUE, got {setting!r}")
        fixed[key] = value
    return space.with_fixed(fixed)
