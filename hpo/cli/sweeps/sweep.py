"""Search for the best student of a dataset: the command ``hpo sweep METHOD``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import ConfigError
from hpo.cli.display.durations import read_duration
from hpo.cli.display.output import Format, print_note
from hpo.cli.options import (
    DATA,
    STORAGE,
    Address,
    AnswerFormat,
    DataFolder,
    DryRun,
    Fixed,
    Mlflow,
    Storage,
    TensorBoard,
    TimeBudget,
    integer,
)
from hpo.cli.settings_options import Settings, build, options_of
from hpo.cli.sweeps.dry_run import check_and_show
from hpo.cli.sweeps.generations import search_generations

if TYPE_CHECKING:
    from hpo.cli.display.progress.sweep_display import SweepDisplay
    from hpo.driver.observers import SweepObserver
    from hpo.planning.places import Places
    from hpo.planning.told_trials import Told
    from hpo.records.trial_records import TrialRecord
    from hpo.space.search_space import SearchSpace
    from hpo.sweep_config import SweepConfig


def sweep(
    method: Annotated[str, typer.Argument(help="{methods}; or prune, with any.")],
    settings: Settings,
    name: Annotated[
        str | None, typer.Option(help="Of the sweep; by default method, dataset and time.")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(help="A search space of your own, YAML, or widths: student widths too."),
    ] = None,
    fixed: Fixed = None,
    warm_start: Annotated[
        str | None,
        typer.Option(help="A sweep, also of another dataset, whose best to try first."),
    ] = None,
    generations: Annotated[
        int,
        typer.Option(
            parser=integer,
            help="Then let its confirmed students teach another sweep, NAME-2, and so on.",
        ),
    ] = 1,
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
    from hpo.planning.sweep_planning import with_chosen_sampler
    from hpo.planning.warm_start import with_best_of
    from hpo.records.sweep_folder import find_sweep
    from hpo.sweep_config import SweepConfig

    name = name or f"{method}-{settings['dataset']}-{datetime.now():%Y%m%d-%H%M%S}"
    config, why = with_chosen_sampler(build(SweepConfig, settings, name=name, method=method))
    if why:
        print_note(why)
    seconds = read_duration("--time-budget", time_budget)
    searched = find_space(method, space, fixed or [], config.form)
    if warm_start is not None:
        other = find_sweep(storage, warm_start)
        searched = with_best_of(searched, other, config.form, config.family)
    places = Places(data, storage, address)
    if dry_run:
        check_and_show(config, places, searched, output, tensorboard=tensorboard, mlflow=mlflow)
    elif generations != 1:
        if seconds is not None:
            raise ConfigError("--time-budget is of one sweep, not of --generations; leave it out")
        search_generations(generations, config, places, searched, tensorboard, mlflow, output)
    else:
        search(config, places, searched, seconds, tensorboard, mlflow, output)


def sweep_options() -> list[inspect.Parameter]:
    """Return an option for every setting of a sweep."""
    from hpo.sweep_config import SweepConfig

    return options_of(SweepConfig)


def registered_names() -> dict[str, str]:
    """Return the names that the help of ``hpo sweep`` lists, as they are registered now."""
    from core.distillation.losses import LOSSES
    from hpo.search.samplers import SAMPLERS
    from hpo.search.schedulers import SCHEDULERS
    from hpo.space.objectives import COSTS, OBJECTIVES

    return {
        "methods": _listed(LOSSES),
        "samplers": _listed(SAMPLERS),
        "schedulers": _listed(name for name in SCHEDULERS if name != "none"),
        "objectives": _listed(OBJECTIVES),
        "costs": _listed(COSTS),
    }


def _listed(names: Iterable[str]) -> str:
    """Return ``a, b or c``."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def search(
    config: SweepConfig,
    places: Places,
    space: SearchSpace,
    seconds: float | None,
    tensorboard: bool,
    mlflow: str | None,
    output: Format,
    told: Told | None = None,
) -> None:
    """Run a sweep with its display, then print the best trial and the next commands."""
    from hpo.sweep import run_sweep

    def run(observer: SweepObserver) -> list[TrialRecord]:
        return run_sweep(config, places, space, observer, seconds or math.inf, told)

    show(run, config, places.storage / config.name, tensorboard, mlflow, output)


def show(
    run: Callable[[SweepObserver], list[TrialRecord]],
    config: SweepConfig,
    folder: Path,
    tensorboard: bool,
    mlflow: str | None,
    output: Format,
) -> None:
    """Run a sweep, new or resumed, with its display; print its best trial and the next commands.

    Args:
        run: runs it with an observer and returns its records.
        config: its settings.
        folder: where it lies.
        tensorboard: whether to log for TensorBoard.
        mlflow: address of an MLflow to log to.
        output: how to print the answer.
    """
    from hpo.cli.display.sweep_answer import answer, fail_without_student

    records, display = drive_shown(run, folder, tensorboard, mlflow)
    answer(config, records, display.plan, output)
    display.report_remaining_trials()
    fail_without_student(records, f"sweep {config.name!r}", f"hpo status {config.name}")


def drive_shown(
    run: Callable[[SweepObserver], list[TrialRecord]],
    folder: Path,
    tensorboard: bool,
    mlflow: str | None,
) -> tuple[list[TrialRecord], SweepDisplay]:
    """Run a sweep with its display, which is returned closed; arguments are those of ``show``."""
    from hpo.cli.display.progress.sweep_display import SweepDisplay, observer_of
    from hpo.selection import all_records

    with SweepDisplay(like=lambda: all_records(folder.parent)) as display:
        records = run(observer_of(display, folder, tensorboard, mlflow))
    return records, display


def find_space(method: str, name: str | None, settings: list[str], form: str) -> SearchSpace:
    """Return the search space that ``--space`` and ``--set`` ask for.

    Args:
        method: its built-in space is the one unless ``name`` says otherwise.
        name: of a built-in space, or a file.
        settings: texts ``KEY=VALUE``: settings held at one value.
        form: whose built-in spaces are meant.

    Raises:
        ConfigError: a text of another form, a setting given twice, or a value that it cannot hold.
        UnknownNameError: no such method or built-in space.
    """
    from hpo.space.search_space import built_in_search_space, check_method, load_search_space

    check_method(method)
    # The name of a built-in space has neither a folder nor an ending.
    if name is None or (Path(name).name == name and not Path(name).suffix):
        space = built_in_search_space(name or method, form)
    else:
        space = load_search_space(Path(name))
    return with_set(space, settings)


def with_set(space: SearchSpace, settings: list[str]) -> SearchSpace:
    """Return a space in which ``--set`` holds some settings; see ``find_space``."""
    fixed: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key or not value:
            raise ConfigError(f"--set takes KEY=VALUE, got {setting!r}")
        if key in fixed:
            raise ConfigError(
                f"--set holds a setting at one value, got {key}={fixed[key]} and {setting}; "
                "keep one"
            )
        fixed[key] = value
    return space.with_fixed(fixed)
