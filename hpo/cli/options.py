"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.output import Format

DataFolder = Annotated[
    Path, typer.Option("--data", envvar="HPO_DATA", help="Folder of the datasets.")
]
Storage = Annotated[
    Path, typer.Option("--storage", envvar="HPO_STORAGE", help="Folder of sweeps and teachers.")
]
AnswerFormat = Annotated[
    Format, typer.Option("--format", help="A table for people or JSON for programs.")
]
Address = Annotated[
    str, typer.Option(help="Of a running Ray cluster; `local` starts one on this machine.")
]
DATA = Path("data")
STORAGE = Path("runs")
