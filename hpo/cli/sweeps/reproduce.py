"""Repeat the paper's tables and judge its claims: the command ``hpo reproduce TABLE``.

Calls ``hpo.reproduction``; prints tables and verdicts, or writes them as Markdown or a page.
"""

from __future__ import annotations

import inspect
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.display.durations import in_words, read_duration
from hpo.cli.display.output import (
    Format,
    console,
    error_console,
    print_json,
    print_line,
    print_note,
)
from hpo.cli.options import (
    DATA,
    STORAGE,
    Address,
    AnswerFormat,
    DataFolder,
    DryRun,
    Storage,
)
from hpo.cli.settings_options import Settings, build, options_of
from hpo.cli.sweeps.report import check_packages

if TYPE_CHECKING:
    from hpo.reproduction.pages.result import ReproductionResult
    from hpo.reproduction.planning import ReproductionPlan


def reproduce(
    table: Annotated[str, typer.Argument(help="{tables} or all.")],
    settings: Settings,
    budget: Annotated[
        str | None,
        typer.Option(metavar="2h|90m|1h30m", help="Begin nothing new after this time."),
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="Write it too, figures included: FILE.md or FILE.html; several times."),
    ] = None,
    dry_run: DryRun = False,
    address: Address = "local",
    data: DataFolder = DATA,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Repeat a table of the paper with seeds, and say which of its claims hold.

    Trains what is missing and nothing twice: stop it at any time, the same command goes on.

    hpo reproduce 4 --dataset pemsd7-m --form direct --trials 20 --seeds 5
    """
    from hpo.cli.display.section_tables import print_section
    from hpo.planning.places import Places
    from hpo.report.wording import in_number
    from hpo.reproduction.facts import gather
    from hpo.reproduction.pages.result import make_result
    from hpo.reproduction.planning import plan_reproduction
    from hpo.reproduction.request import ReproductionRequest
    from hpo.reproduction.tables import find_tables

    tables = find_tables(table)
    request = build(ReproductionRequest, settings)
    seconds = read_duration("--budget", budget) or math.inf
    plan = plan_reproduction(request, tables, Places(data, storage, address))
    if dry_run:
        _print_plan(plan, output)
        return
    for file in out or []:
        _check_out(file)
    _run(plan, seconds)
    with error_console.status("judging"):
        result = make_result(gather(plan), _command())
        files = [path for file in out or [] for path in _written(result, file)]
    if output is Format.json:
        print_json(result.to_json() | {"files": [str(path) for path in files]})
    else:
        for section in result.sections.values():
            print_section(section)
        for path in files:
            print_line(str(path))
    if plan.left:
        print_note(f"time is up with {in_number(plan.left, 'training')} left; next: {_command()}")


def reproduction_options() -> list[inspect.Parameter]:
    """Return an option for every setting of a reproduction."""
    from hpo.reproduction.request import ReproductionRequest

    return options_of(ReproductionRequest)


def names_of_reproductions() -> dict[str, str]:
    """Return the names that the help of ``hpo reproduce`` lists."""
    from hpo.reproduction.tables import TABLES
    from hpo.search.schedulers import SCHEDULERS

    schedulers = [name for name in SCHEDULERS if name != "none"]
    return {"tables": ", ".join(TABLES), "schedulers": ", ".join(schedulers)}


def _check_out(file: Path) -> None:
    check_packages("hpo reproduce --out")
    from hpo.reproduction.pages.writing import check_out

    check_out(file)


def _written(result: ReproductionResult, file: Path) -> list[Path]:
    from hpo.reproduction.pages.writing import write_result

    files = write_result(result, file)
    if files == [file] and file.suffix == ".md":
        print_note(
            f"{file} has no figures: drawing them needs Chromium or Chrome; FILE.html has them"
        )
    return files


def _command() -> str:
    return shlex.join(["hpo", *sys.argv[1:]])


def _run(plan: ReproductionPlan, seconds: float) -> None:
    from hpo.cli.display.progress.reproduction_display import ReproductionDisplay
    from hpo.reproduction.running import run_reproduction

    if plan.left:
        print_note(_left_in_words(plan))
    with ReproductionDisplay(plan, _command()) as display:
        run_reproduction(plan, display, seconds)


def _print_plan(plan: ReproductionPlan, output: Format) -> None:
    seconds = plan.seconds_per_training
    whole = None if seconds is None else seconds * plan.left
    rows: list[dict[str, Any]] = [
        {
            "row": part.contender.label,
            "sweep": part.folder.name,
            "exists": part.exists,
            "trials": part.trials,
            "seeds": part.seeds,
            "left": part.left(),
        }
        for part in plan.parts
    ]
    if output is Format.json:
        print_json({"sweeps": rows, "left": plan.left, "seconds_of_one_worker": whole})
        return
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    for heading in rows[0] if rows else ():
        shown.add_column(heading, overflow="fold")
    for row in rows:
        shown.add_row(*(str(value) for value in row.values()))
    if rows:
        console.print(shown)
    print_line(_left_in_words(plan))


def _left_in_words(plan: ReproductionPlan) -> str:
    from hpo.report.wording import in_number

    seconds = plan.seconds_per_training
    time = (
        "no training of this data has ended, so how long they take is not known"
        if seconds is None
        else f"about {in_words(seconds * plan.left)} of one worker"
    )
    return f"{in_number(plan.left, 'training')} left: {time}"
