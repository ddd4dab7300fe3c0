"""Write, check and read the folder that one takes away, and forecast with it.

``open_export`` is imported when it is asked for: forecasting with an export needs no torch.
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
