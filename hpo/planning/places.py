"""Hold the locations of a sweep's datasets, storage and cluster. Opens none of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """The locations that a sweep reads and writes."""

    data: Path = Path("data")
    """Folder of datasets."""
    storage: Path = Path("runs")
    """Of sweeps and teachers; what ``hpo.storage.storage.open_storage`` returns."""
    address: str = "local"
    """Of a Ray cluster; ``local`` starts one on this machine."""
