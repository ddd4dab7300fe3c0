"""Register the published datasets by name: one file each, one line here.

Does not download or import them (``core.datasets.fetching``, ``core.datasets.importing``).
"""

from __future__ import annotations

from typing import Final

from core.datasets.published.form import PublishedDataset
from core.datasets.published.metr_la import METR_LA
from core.datasets.published.pems08 import PEMS08
from core.datasets.published.pems_bay import PEMS_BAY
from core.datasets.published.pemsd7_m import PEMSD7_M
from core.errors import UnknownNameError

PUBLISHED: Final[dict[str, PublishedDataset]] = {
    "metr-la": METR_LA,
    "pems-bay": PEMS_BAY,
    "pems08": PEMS08,
    "pemsd7-m": PEMSD7_M,
}


def find_published(name: str) -> PublishedDataset:
    """Return the published dataset ``name``, or raise with the nearest known name."""
    if name not in PUBLISHED:
        raise UnknownNameError("published dataset", name, PUBLISHED)
    return PUBLISHED[name]
