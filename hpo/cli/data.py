"""``hpo data``: list, import and check datasets.

Turns options into an ``ImportRequest`` and findings into tables or JSON; all work is done by
``core.datasets``. Errors pass through to the main command, which makes one line of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.options import (
    DATA,
    AnswerFormat,
    Array,
    Channel,
    DataFolder,
    Header,
    MissingValue,
    TimeColumn,
)
from hpo.cli.output import Format, console, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from core.datasets.dataset import DatasetCard

app = typer.Typer(help="List, import and check datasets.", no_args_is_help=True)

_BUILT_IN = "built in, made on first use"


@app.command("list")
def list_datasets(data: DataFolder = DATA, output: AnswerFormat = Format.table) -> None:
    """List the datasets that are there, and the built-in one."""
    from core.datasets.dataset import dataset_names, read_card
    from core.datasets.synthetic import SYNTHETIC

    rows = [_summary(read_card(data / name)) for name in dataset_names(data)]
    built_in = SYNTHETIC not in {row["name"] for row in rows}
    if output is Format.json:
        print_json([*rows, {"name": SYNTHETIC, "note": _BUILT_IN}] if built_in else rows)
        return
    if rows:
        console.print(_table(rows))
    if built_in:
        console.print(f"{SYNTHETIC}: {_BUILT_IN}", highlight=False)


@app.command("import")
def import_files(
    name: Annotated[str, typer.Argument(help="What to call the dataset.")],
    readings: Annotated[
        Path,
        typer.Option(help="CSV or Parquet (a column per sensor), or NPZ ([T, N] or [T, N, C])."),
    ],
    distances: Annotated[
        Path | None, typer.Option(help="CSV matrix of distances between sensors.")
    ] = None,
    edges: Annotated[
        Path | None, typer.Option(help="CSV of from,to,cost: positions from 0, or sensor ids.")
    ] = None,
    adjacency: Annotated[
        Path | None, typer.Option(help="CSV matrix of weights, used as it is.")
    ] = None,
    interval: Annotated[int, typer.Option(help="Minutes between two rows.")] = 5,
    days: Annotated[
        str,
        typer.Option(
            metavar="weekdays|consecutive",
            help="Whether midnights separate days that may not be neighbours, or none does.",
        ),
    ] = "weekdays",
    split: Annotated[str, typer.Option(help="Days for training/validation/test.")] = "22/4/4",
    channel: Channel = None,
    array: Array = None,
    distance_unit: Annotated[
        str, typer.Option(metavar="metres|kilometres|miles", help="Of distances and costs.")
    ] = "metres",
    unit: Annotated[str, typer.Option(help="Of the readings.")] = "mph",
    missing_value: MissingValue = None,
    time_column: TimeColumn = None,
    zero_distance: Annotated[
        str,
        typer.Option(metavar="colocated|unconnected", help="What distance 0 between two means."),
    ] = "colocated",
    header: Header = None,
    sigma_squared: Annotated[
        float, typer.Option(help="Width of the Gaussian kernel, square kilometres.")
    ] = 10.0,
    epsilon: Annotated[float, typer.Option(help="Weights below this become zero.")] = 0.5,
    data: DataFolder = DATA,
    output: AnswerFormat = Format.table,
) -> None:
    """Make a dataset of your own readings and road graph.

    hpo data import pemsd7 --readings V_228.csv --distances W_228.csv --split 34/5/5
    """
    from core.datasets.importing import ImportRequest, import_dataset

    request = ImportRequest(
        name=name,
        readings=readings,
        distances=distances,
        edges=edges,
        adjacency=adjacency,
        interval_minutes=interval,
        day_kind=days,
        split=_parse_split(split),
        channel=channel,
        array=array,
        distance_unit=distance_unit,
        unit=unit,
        missing_value=missing_value,
        time_column=time_column,
        zero_distance=zero_distance,
        header=header or "auto",
        sigma_squared=sigma_squared,
        epsilon=epsilon,
    )
    card = import_dataset(data, request).card
    if output is Format.json:
        print_json(_summary(card))
        return
    console.print(_table([_summary(card)]))
    console.print(f"next: hpo data check {name}, or hpo teacher {name}", highlight=False)


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
    console.print(_table([_summary(dataset.card)]))
    console.print(f"Graph: {dataset.card.graph}", highlight=False)
    for found in problems:
        colour = "yellow" if found.severity == "warning" else "cyan"
        console.print(f"[{colour}]{found.severity}[/] {escape(found.text)}", highlight=False)
    if not problems:
        console.print("nothing looks odd")


def _parse_split(text: str) -> tuple[int, int, int]:
    from core.errors import ConfigError

    try:
        train, validation, test = map(int, text.split("/"))
    except ValueError as error:
        raise ConfigError(
            f"--split must be days for training/validation/test such as 22/4/4, got {text!r}; "
            "give three whole numbers"
        ) from error
    return train, validation, test


def _summary(card: DatasetCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "sensors": card.num_sensors,
        "days": card.num_steps // card.steps_per_day,
        "day_kind": card.day_kind,
        "interval_minutes": card.interval_minutes,
        "split": card.split_text,
        "unit": card.unit,
        "minimum": card.minimum,
        "maximum": card.maximum,
        "mean": card.mean,
        "missing_share": card.missing_share,
        "edges": card.edges,
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for title in ("dataset", "sensors", "days", "split", "range", "missing", "edges"):
        table.add_column(title, no_wrap=title not in {"dataset", "range"}, overflow="fold")
    for row in rows:
        table.add_row(
            row["name"],
            str(row["sensors"]),
            f"{row['days']} {row['day_kind']}",
            row["split"],
            f"{row['minimum']:g}..{row['maximum']:g} {row['unit']}",
            f"{row['missing_share']:.2%}",
            str(row["edges"]),
        )
    return table
