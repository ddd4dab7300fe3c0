"""Forecast the next minutes with an exported student: the command ``hpo forecast``.

Reads the export folder and a file of readings, nothing else, and prints or writes the forecast that
``core.export.forecast`` makes.
"""

from __future__ import annotations

import io
import json
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.display.output import console, print_line
from hpo.cli.options import integer
from hpo.cli.settings_options import Settings
from hpo.cli.students.readings_source import say_how_read, source_like

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from rich.table import Table

    from core.datasets.dataset import DatasetCard
    from core.export.forecast import Forecast


class ForecastFormat(StrEnum):
    """The values of ``--format`` of this command."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def forecast(
    folder: Annotated[Path, typer.Argument(metavar="EXPORT", help="Folder of an export.")],
    readings: Annotated[
        Path, typer.Option(help="CSV or Parquet (a column per sensor), or NPZ; its last rows.")
    ],
    *,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Forecast after this time, or after this row from 0 where there are no times.",
            show_default="the last row",
        ),
    ] = None,
    max_gap: Annotated[
        int | None,
        typer.Option(
            parser=integer,
            metavar="MINUTES",
            help="Fill gaps up to this long.",
            show_default="the manifest's, 15",
        ),
    ] = None,
    settings: Settings,
    output: Annotated[
        ForecastFormat | None,
        typer.Option("--format", help="How to answer.", show_default="by --out's ending, or table"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A file to write.", show_default="shown only")
    ] = None,
) -> None:
    """Show what an exported student forecasts for every sensor, in the readings' unit.

    hpo forecast runs/ord-first/exports/1-trial-0007 --readings today.csv --time-column time
    """
    from core.datasets.readings_files import read_readings
    from core.export.forecast import forecast_readings
    from core.export.manifest import card_of, read_manifest
    from core.files import write_bytes

    chosen = _format(output, out)
    card = card_of(read_manifest(folder), folder)
    table = read_readings(source_like(readings, settings, card))
    found = forecast_readings(folder, table, at, max_gap)
    say_how_read(table, card)
    if out is not None:
        write_bytes(out, _encoded(found, chosen, card))
    elif chosen is ForecastFormat.table:
        where = f"row {found.at}" if isinstance(found.at, int) else str(found.at)
        print_line(f"{found.unit} after {where}")
        console.print(_table(found, card))
    else:
        print(_encoded(found, chosen, card).decode(), end="")


def _format(given: ForecastFormat | None, out: Path | None) -> ForecastFormat:
    from core.errors import ConfigError

    ending = "table" if out is None else out.suffix.lower().lstrip(".")
    known = set(ForecastFormat)
    chosen = given or (ForecastFormat(ending) if ending in known else None)
    if chosen is None or (chosen is ForecastFormat.table and out is not None):
        raise ConfigError(
            f"--out must end in .csv, .json or .parquet, or come with one of these as --format, "
            f"got {out}"
        )
    if chosen is ForecastFormat.parquet and out is None:
        raise ConfigError("--format parquet needs --out, the file to write")
    return chosen


def _encoded(found: Forecast, chosen: ForecastFormat, card: DatasetCard) -> bytes:
    if chosen is ForecastFormat.json:
        return (json.dumps(_answer(found, card), indent=2, allow_nan=False) + "\n").encode()
    frame = _frame(found)
    if chosen is ForecastFormat.csv:
        return frame.to_csv(index=False).encode()
    stream = io.BytesIO()
    frame.to_parquet(stream, index=False)
    return stream.getvalue()


def _answer(found: Forecast, card: DatasetCard) -> dict[str, Any]:
    from dataclasses import asdict

    times = None if found.times is None else [time.isoformat() for time in found.times]
    return {
        "at": found.at if isinstance(found.at, int) else found.at.isoformat(),
        "unit": found.unit,
        "minutes": found.minutes,
        "times": times,
        "sensors": list(found.sensor_ids),
        **({"places": [asdict(place) for place in card.places]} if card.places else {}),
        "forecast": _numbers(found.values),
        **_interval(found),
    }


def _interval(found: Forecast) -> dict[str, Any]:
    if found.half_widths is None:
        return {}
    lower, upper = found.values - found.half_widths, found.values + found.half_widths
    return {"coverage": found.coverage, "lower": _numbers(lower), "upper": _numbers(upper)}


def _numbers(values: NDArray[np.float32]) -> list[list[float | None]]:
    """Return values [H, N] for JSON, which has no NaN: None instead."""
    return [[None if math.isnan(one) else float(one) for one in row] for row in values]


def _frame(found: Forecast) -> pd.DataFrame:
    """Return a row per step and a column per sensor, as in a file of readings."""
    import pandas as pd

    frame = pd.DataFrame(found.values, columns=list(found.sensor_ids))
    if found.times is None:
        frame.insert(0, "minutes", found.minutes)
    else:
        frame.insert(0, "time", found.times)
    return frame


def _table(found: Forecast, card: DatasetCard) -> Table:
    from rich.table import Table

    heads = [f"+{after} min" for after in found.minutes]
    if found.times is not None:
        heads = [time.strftime("%H:%M") for time in found.times]
    table = Table(box=None, pad_edge=False)
    labels = [place.label for place in card.places]
    table.add_column("sensor")
    if any(labels):
        table.add_column("where")
    for head in heads:
        table.add_column(head, justify="right")
    for at, (sensor, values) in enumerate(zip(found.sensor_ids, found.values.T, strict=True)):
        where = [labels[at]] if any(labels) else []
        table.add_row(sensor, *where, *(f"{value:.1f}" for value in values))
    return table
