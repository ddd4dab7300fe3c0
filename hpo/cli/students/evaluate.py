"""Compute the errors of an exported student on a file of readings: the command ``hpo evaluate``.

Reads the export folder and the file, nothing else. The file is read as the student's own data were
imported, unless an option says otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.display.output import Format, console, print_json, print_note
from hpo.cli.options import AnswerFormat, RequireBetterThanLast
from hpo.cli.settings_options import Settings
from hpo.cli.students.readings_source import say_how_read, source_like

if TYPE_CHECKING:
    from rich.table import Table

    from core.datasets.dataset import DatasetCard


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="EXPORT", help="Folder of an export.")],
    readings: Annotated[
        Path, typer.Option(help="CSV or Parquet (a column per sensor), or NPZ; gaps are fine.")
    ],
    *,
    days: Annotated[
        str | None, typer.Option(help="Which days, counted from 0, such as 26-29; default all.")
    ] = None,
    settings: Settings,
    require: RequireBetterThanLast = False,
    output: AnswerFormat = Format.table,
) -> None:
    """Show how well an exported student forecasts a file of readings.

    hpo evaluate runs/ord-first/exports/1-trial-0007 --readings V_228.csv --days 39-43
    """
    from core.datasets.readings_files import read_readings, without_empty_days
    from core.export.evaluate import evaluate_export
    from core.export.export_folder import open_export
    from core.export.manifest import errors_look_ahead
    from hpo.cli.display.beside_last import warn_beside_last

    export = open_export(folder)
    wanted = None if days is None else _parse_days(days)
    source = source_like(readings, settings, export.card)
    table = read_readings(source)
    if source.fill_times and export.card.day_kind == "weekdays":
        table = without_empty_days(table, export.card.steps_per_day)
    errors = evaluate_export(export, table.values, wanted, table.sensor_ids, table.times)
    say_how_read(table, export.card)
    _warn_of_training_days(readings, export.card, wanted)
    if errors_look_ahead(export.manifest):
        print_note(
            "note: the errors in its manifest look ahead, as gaps were interpolated; these do not"
        )
    if output is Format.json:
        print_json(errors)
    else:
        console.print(_table(errors, export.card.unit))
    own, repeated = (_mean_of(one["mae"]) for one in (errors, errors["repeat_last"]))
    better = warn_beside_last("this student", {"mae": own}, {"mae": repeated}, "mae")
    if require and not better:
        raise typer.Exit(1)


def _mean_of(by_horizon: dict[str, float | None]) -> float | None:
    """Return the mean over the horizons; None where one was not measured."""
    values = [value for value in by_horizon.values() if value is not None]
    return sum(values) / len(values) if len(values) == len(by_horizon) else None


def _parse_days(text: str) -> tuple[int, int]:
    from core.errors import ConfigError

    first, dash, last = text.partition("-")
    try:
        return int(first), int(last if dash else first)
    except ValueError as error:
        raise ConfigError(
            f"--days must be a day or a range such as 26-29, got {text!r}; count from 0"
        ) from error


def _warn_of_training_days(readings: Path, card: DatasetCard, days: tuple[int, int] | None) -> None:
    """Print a note if the student was trained or chosen on some of the days evaluated."""
    from core.files import sha256_of_file

    first_test = card.split[0] + card.split[1]
    if days is not None and days[0] >= first_test:
        return
    if sha256_of_file(readings) in card.sources.values():
        print_note(
            "note: this is the file the student was trained on, so these errors include its "
            f"training days; judge the test days alone by --days {first_test}-"
            f"{sum(card.split) - 1}"
        )


def _table(errors: dict[str, Any], unit: str) -> Table:
    from rich.table import Table

    from core.preprocessing.horizons import HORIZON_MINUTES

    table = Table(
        f"{errors['windows']:,} windows", *(f"{minutes} min" for minutes in HORIZON_MINUTES)
    )
    for metric, measured in (("mae", unit), ("mape", "%"), ("rmse", unit)):
        table.add_row(f"{metric.upper()}, {measured}", *_cells(errors[metric]))
    repeated = _cells(errors["repeat_last"]["mae"])
    table.add_row(f"MAE of repeating the last reading, {unit}", *repeated)
    intervals = errors["intervals"]
    if intervals is not None:
        shares = intervals["share"].values()
        cells = ("-" if one is None else f"{100 * one:.1f}" for one in shares)
        table.add_row(f"inside the {100 * intervals['coverage']:g} % interval, %", *cells)
        table.add_row(f"mean width of the interval, {unit}", *_cells(intervals["width"]))
    return table


def _cells(by_horizon: dict[str, float | None]) -> list[str]:
    return ["-" if value is None else f"{value:.2f}" for value in by_horizon.values()]
