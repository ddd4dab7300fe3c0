"""Word what pages and tables show: names of errors with their units, and settings."""

from __future__ import annotations

from typing import Any, Final

METRIC_NAMES: Final = {"mae": "MAE", "mape": "MAPE", "rmse": "RMSE"}


def metric_name(metric: str, unit: str) -> str:
    """Return ``validation MAE at 15 min, mph`` for ``val_mae_15``."""
    part, _, rest = metric.partition("_")
    name, _, minutes = rest.partition("_")
    words = "validation " if part == "val" else ""
    at = f" at {minutes} min" if minutes else ""
    return with_unit(f"{words}{METRIC_NAMES[name]}{at}", "%" if name == "mape" else unit)


def with_unit(text: str, unit: str) -> str:
    """Return ``MAE, mph``; without a unit nothing is added."""
    return f"{text}, {unit}" if unit else text


def setting_text(value: Any) -> str:
    """Return a setting as people write it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def in_number(count: int, noun: str) -> str:
    """Return ``1 trial`` or ``2 trials``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
