"""Say where a sweep reads and writes: datasets, storage, cluster. Opens none of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """Where a sweep reads and writes."""

    data: Path = Path("data")
    """Folder of datasets."""
    storage: Path = Path("runs")
    """Of sweeps and teachers; of ``s3://…`` what ``hpo.storage.mirror.open_storage`` returns."""
    address: str = "local"
    """Of a Ray cluster; ``local`` starts one on this machine."""
