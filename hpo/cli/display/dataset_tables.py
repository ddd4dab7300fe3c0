"""Describe datasets as rows of a table for people, as objects for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hpo.cli.display.output import Format, console, print_json, print_line

if TYPE_CHECKING:
    from rich.table import Table

    from core.datasets.dataset import DatasetCard
    from core.datasets.published.form import PublishedDataset


def answer_import(card: DatasetCard, output: Format) -> None:
    """Print the imported dataset and the next command."""
    if output is Format.json:
        print_json(summary(card))
        return
    console.print(datasets_table([summary(card)]))
    for note in card.notes:
        print_line(f"note: {note}")
    console.print(f"next: hpo data check {card.name}, or hpo teacher {card.name}", highlight=False)


def summary(card: DatasetCard) -> dict[str, Any]:
    """Return the facts of a card that its row shows."""
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


def datasets_table(rows: list[dict[str, Any]]) -> Table:
    """Return a table with a row per dataset of the data folder."""
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


def published_facts(dataset: PublishedDataset) -> dict[str, Any]:
    """Return the facts of a published dataset that has not been fetched."""
    return {
        "name": dataset.name,
        "note": f"hpo data fetch {dataset.name}",
        "sensors": dataset.num_sensors,
        "day_kind": dataset.day_kind,
        "split": "/".join(map(str, dataset.split)),
        "page": dataset.page,
        "files": [asdict(item) for item in dataset.downloads],
    }


def published_table(datasets: list[PublishedDataset]) -> Table:
    """Return a table with a row per published dataset that can be fetched."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for title in ("hpo data fetch", "sensors", "days", "split", "what"):
        table.add_column(title, no_wrap=title != "what", overflow="fold")
    for dataset in datasets:
        days = f"{sum(dataset.split)} {dataset.day_kind}"
        split = "/".join(map(str, dataset.split))
        table.add_row(dataset.name, str(dataset.num_sensors), days, split, dataset.about)
    return table
