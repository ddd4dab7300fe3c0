"""Decide how a file of readings is read for an exported student.

It is read as the student's own data were, unless an option says otherwise; what is not as a user
may expect is said. Reads no readings.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.cli.display.output import print_note
from hpo.cli.settings_options import options_of

if TYPE_CHECKING:
    from core.datasets.dataset import DatasetCard
    from core.datasets.readings_files import ReadingsSource, ReadingsTable


def reading_options() -> list[inspect.Parameter]:
    """Return the options that say how a file is read; None where one is not given."""
    from core.datasets.readings_files import ReadingsSource

    how = ("channel", "array", "missing_value", "header")
    names = (*how, "time_column", "fill_times", "sort_times", "day_first")
    return options_of(ReadingsSource, names, unset=True)


def source_like(readings: Path, options: Mapping[str, Any], card: DatasetCard) -> ReadingsSource:
    """Return how to read a file: of the same kind as the student's own data, as they were read.

    A file of another kind is read with the defaults.

    Args:
        readings: the file.
        options: values of ``reading_options`` by name; None where one was not given.
        card: of the student's own data.
    """
    from core.datasets.readings_files import ReadingsSource

    kinds = {Path(name).suffix.lower() for name in list(card.sources)[:1]}
    same_kind = readings.suffix.lower() in kinds
    recorded = {
        name: value
        for name, value in card.settings.items()
        if name == "missing_value" or (same_kind and name in {*options, "fill_times"})
    }
    given = {name: value for name, value in options.items() if value is not None}
    return ReadingsSource(readings=readings, **{**recorded, **given})


def say_how_read(table: ReadingsTable, card: DatasetCard) -> None:
    """Print on standard error what a user may not expect of how the readings were read."""
    from core.datasets.formats.sensor_ids import are_positions

    notes = [note for note in table.notes if not note.startswith("readings: ")]
    ids = table.sensor_ids
    if ids is not None and are_positions(card.sensor_ids) and not set(ids) & set(card.sensor_ids):
        notes.append("the student knows its sensors by position alone, so columns keep their order")
    for note in notes:
        print_note(f"note: {note}")
