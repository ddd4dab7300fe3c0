"""Download a published dataset and import it: the command ``hpo data fetch NAME``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from hpo.cli.display.dataset_tables import answer_import
from hpo.cli.display.output import Format, error_console, print_note
from hpo.cli.display.progress.display import Display
from hpo.cli.options import DATA, AnswerFormat, DataFolder

if TYPE_CHECKING:
    from core.datasets.published.form import Download


def fetch(
    form: Annotated[
        str, typer.Argument(metavar="NAME", help="Of a published one; `hpo data list` shows them.")
    ],
    channel: Annotated[
        str | None, typer.Option(help="Which of several channels, such as flow.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the dataset, by default NAME.")
    ] = None,
    data: DataFolder = DATA,
    output: AnswerFormat = Format.table,
) -> None:
    """Download a published dataset and import it; again after a cut, it goes on from there.

    hpo data fetch pems08 --channel flow --name pems08-flow
    """
    from core.datasets.fetching import fetch_files
    from core.datasets.importing import import_dataset
    from core.datasets.published import find_published

    published = find_published(form)
    # Hidden from the list of datasets, and kept: another channel needs no network.
    folder = data / ".downloads" / published.name
    with DownloadDisplay() as display:
        fetch_files(published, folder, display.on_bytes)
    request = published.request(folder, name or published.name, channel)
    answer_import(import_dataset(data, request).card, output)


class DownloadDisplay(Display):
    """Shows the progress of each file on standard error; outside a terminal, its start alone."""

    def __init__(self) -> None:
        """Prepare the bars; none is shown until a file is downloaded."""
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=error_console,
            disable=not error_console.is_terminal,
        )

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return super().__enter__()

    def stop(self, error: BaseException | None = None) -> None:
        """Stop drawing and restore the terminal."""
        self._progress.stop()

    def on_bytes(self, item: Download, done: int, total: int | None) -> None:
        """Advance the bar of a file to ``done`` of ``total`` bytes."""
        if item.name not in self._bars:
            self._bars[item.name] = self._progress.add_task(item.name, total=total)
            if not error_console.is_terminal:
                print_note(f"fetching {item.address}")
        self._progress.update(self._bars[item.name], completed=done, total=total)
