"""What lies in a folder, to be compared before and after something that must not change it."""

from __future__ import annotations

from pathlib import Path


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file below ``folder`` with its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
