"""Write, verify and read export folders, and forecast and evaluate with them.

``open_export`` is imported on first use: forecasting with an export needs no torch. Does not choose
which students to export.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.export.export_folder import open_export

__all__ = ["open_export"]


def __getattr__(name: str) -> Any:
    """Import ``open_export`` on first use."""
    if name != "open_export":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from core.export.export_folder import open_export  # noqa: PLC0415 - torch is slow to import

    return open_export
