"""Define the options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from hpo.cli.display.output import Format
from hpo.space.plain_numbers import advice_on, read_decimal, read_whole


def integer(given: str | int) -> int:
    """Return the whole number that an option gives; a ``parser`` that Typer also hands defaults."""
    return _number(given, read_whole, "integer")


def number(given: str | float) -> float:
    """Return the number that an option gives; a ``parser`` that Typer also hands defaults."""
    return _number(given, read_decimal, "number")


def _number(given: str | Number, read: Callable[[str], Number], kind: str) -> Number:
    try:
        return read(given) if isinstance(given, str) else given
    except ValueError as error:
        text = f"{given!r} is not a valid {kind}{advice_on(str(given))}"
        raise typer.BadParameter(text) from error


Number = TypeVar("Number", int, float)
DataFolder = Annotated[
    Path, typer.Option("--data", envvar="HPO_DATA", help="Folder of the datasets.")
]


def _open_storage(text: str) -> Path:
    """Return the local folder of a storage; raises what ``open_storage`` raises."""
    from hpo.storage.storage import open_storage

    return open_storage(text)


Storage = Annotated[
    Path,
    typer.Option(
        "--storage",
        envvar="HPO_STORAGE",
        metavar="FOLDER|s3://BUCKET/PREFIX|gs://…|az://…",
        help="Of sweeps and teachers.",
        # Kept as text until it is opened: a path would drop one slash of ``s3://``.
        parser=str,
        callback=_open_storage,
    ),
]
AnswerFormat = Annotated[
    Format, typer.Option("--format", help="A table for people or JSON for programs.")
]
Address = Annotated[
    str, typer.Option(help="Of a running Ray cluster; `local` starts one on this machine.")
]
TimeBudget = Annotated[
    str | None,
    typer.Option(metavar="2h|90m|1h30m", help="End after this time; `hpo resume` goes on."),
]
Fixed = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Hold a setting at one value."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, print the plan, run nothing.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Log to STORAGE/NAME/tensorboard as well.")
]
Mlflow = Annotated[
    str | None,
    typer.Option("--mlflow", metavar="URI", help="Log to MLflow as well: sqlite:///mlflow.db"),
]
RequireBetterThanLast = Annotated[
    bool,
    typer.Option(
        "--require-better-than-last",
        help="Exit with code 1 if repeating the last reading does as well.",
    ),
]
DATA = Path("data")
STORAGE = Path("runs")
