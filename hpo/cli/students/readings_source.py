"""A file of readings beside an export in, how to read it out.

Read as the student's own data were read, unless an option says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.datasets.dataset import DatasetCard
    from core.datasets.readings_files import ReadingsSource


def source_like(readings: Path, options: Mapping[str, Any], card: DatasetCard) -> ReadingsSource:
    """Read a file of the same kind as the student's own data were read, another one plainly.

    Args:
        readings: the file.
        options: of ``ReadingsSource``, by name; None where nothing was said.
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
