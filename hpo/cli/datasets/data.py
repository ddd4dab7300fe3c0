"""List, import and check datasets: the commands of ``hpo data``.

Turns options into an ``ImportRequest`` and prints what ``core.datasets`` returns. Errors pass
through to the main command, which prints them as one line.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.datasets.fetch import fetch
from hpo.cli.display.dataset_tables import (
    answer_import,
    datasets_table,
    published_facts,
    published_table,
    summary,
)
from hpo.cli.display.output import Format, console, print_json, print_line
from hpo.cli.options import (
    DATA,
    AnswerFormat,
    DataFolder,
)
from hpo.cli.settings_options import Settings, add_command, build, options_of

app = typer.Typer(help="List, fetch, import and check datasets.", no_args_is_help=True)
app.command()(fetch)

_BUILT_IN = "built in, made on first use"


@app.command("list")
def list_datasets(data: DataFolder = DATA, output: AnswerFormat = Format.table) -> None:
    """List the datasets that are there, the built-in one, and published ones to fetch."""
    from core.datasets.dataset import dataset_names, read_card
    from core.datasets.published import PUBLISHED
    from core.datasets.synthetic import SYNTHETIC

    rows = [summary(read_card(data / name)) for name in dataset_names(data)]
    there = {row["name"] for row in rows}
    published = [dataset for name, dataset in PUBLISHED.items() if name not in there]
    built_in = SYNTHETIC not in there
    if output is Format.json:
        rows += [{"name": SYNTHETIC, "note": _BUILT_IN}] if built_in else []
        print_json([*rows, *map(published_facts, published)])
        return
    if rows:
        console.print(datasets_table(rows))
    if built_in:
        console.print(f"{SYNTHETIC}: {_BUILT_IN}", highlight=False)
    if published:
        console.print(published_table(published))


def import_files(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What to call the dataset.")],
    *,
    readings: Annotated[
        Path | None,
        typer.Option(
            help="CSV, Parquet or HDF5 (a column per sensor), or NPZ ([T, N] or [T, N, C])."
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Folder with the files of a published dataset, as they are."),
    ] = None,
    form: Annotated[
        str | None, typer.Option(help="With --from: which published one, by default NAME.")
    ] = None,
    settings: Settings,
    data: DataFolder = DATA,
    output: AnswerFormat = Format.table,
) -> None:
    """Make a dataset of your own readings and road graph, or of published files.

    hpo data import mine --readings speeds.csv --distances metres.csv --split 34/5/5

    hpo data import pemsd7-m --from FOLDER
    """
    from core.datasets.importing import ImportRequest, import_dataset
    from core.datasets.published import find_published

    if source is not None:
        _refuse_settings(context)
        request = find_published(form or name).request(source, name, settings["channel"])
    elif readings is None or form is not None:
        raise typer.BadParameter("give --readings FILE, or --from FOLDER for a published dataset")
    else:
        request = build(ImportRequest, settings, name=name, readings=readings)
    answer_import(import_dataset(data, request).card, output)


def _import_options() -> list[inspect.Parameter]:
    from core.datasets.importing import ImportRequest

    return options_of(ImportRequest)


add_command(app, import_files, _import_options, name="import")


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="Which dataset.")],
    data: DataFolder = DATA,
    output: AnswerFormat = Format.table,
) -> None:
    """Show a dataset's card and what looks odd about it."""
    from dataclasses import asdict

    from rich.markup import escape

    from core.datasets.checking import check_dataset, check_files
    from core.datasets.loading import load_dataset

    dataset = load_dataset(data, name)
    problems = check_files(data / name) + check_dataset(dataset)
    if output is Format.json:
        print_json(
            {"card": asdict(dataset.card), "problems": [asdict(found) for found in problems]}
        )
        return
    console.print(datasets_table([summary(dataset.card)]))
    console.print(f"Graph: {dataset.card.graph}", highlight=False)
    for note in dataset.card.notes:
        print_line(f"note: {note}")
    for found in problems:
        colour = "yellow" if found.severity == "warning" else "cyan"
        console.print(f"[{colour}]{found.severity}[/] {escape(found.text)}", highlight=False)
    if not problems:
        console.print("nothing looks odd")


def _refuse_settings(context: typer.Context) -> None:
    """Refuse options that the published form sets itself, where ``--from`` is given."""
    allowed = {"name", "source", "form", "channel", "data", "output"}
    for option in context.command.params:
        given = context.get_parameter_source(option.name)
        if option.name not in allowed and given is not None and given.name == "COMMANDLINE":
            raise typer.BadParameter(
                f"--from knows the published form's settings, so {option.opts[0]} "
                "cannot be given as well; leave it out, or name the files with --readings"
            )
