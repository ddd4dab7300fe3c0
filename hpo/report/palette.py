"""Define the colours of the page and of every figure, light and dark.

Figures are drawn in the light colours; the page's script replaces each by its dark counterpart.
Sweeps have Okabe and Ito's colours, which colour-blind people can distinguish, and dashes too.
"""

from __future__ import annotations

from typing import Final

INK: Final = "#1f2730"
"""Text, and true readings."""
MUTED: Final = "#5c6773"
"""Axes and secondary text."""
FAINT: Final = "#b7bec7"
"""Trials that are not the best."""
GRID: Final = "#e7e9ec"
CARD: Final = "#fefefe"
"""Background of every figure."""
TEACHER: Final = "#4b4f56"
REPEAT_LAST: Final = "#8f8a83"
PAPER: Final = "#7d6a9e"

SWEEPS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES: Final = ("solid", "dash", "dashdot", "longdash", "longdashdot", "dot")
SYMBOLS: Final = ("circle", "square", "triangle-up", "pentagon", "hexagon", "star-triangle-up")

ERRORS: Final = ("#00406b", "#2f6f9f", "#6d9cc0", "#a5bfd3", "#cdd6de")
"""From the lowest error to the highest."""
HOURS: Final = ("#1d2f6f", "#3f7fb5", "#e2a32c", "#c9521c")
"""Night, morning, midday, afternoon."""

DARK: Final = {
    INK: "#e8eaed",
    MUTED: "#9aa4af",
    FAINT: "#4a535d",
    GRID: "#2a3037",
    CARD: "#1a1e23",
    TEACHER: "#c9ced6",
    REPEAT_LAST: "#8b857c",
    PAPER: "#b5a3d6",
    **dict(
        zip(SWEEPS, ("#5aaee6", "#f28b45", "#35c79a", "#e6a5c9", "#f2bb3f", "#a4d8f7"), strict=True)
    ),
    **dict(zip(ERRORS, ("#a9dcff", "#6bb2e3", "#447fab", "#34566f", "#303a44"), strict=True)),
    **dict(zip(HOURS, ("#8396e8", "#62b0ea", "#f7c65b", "#ef8a52"), strict=True)),
}
"""Light colour -> dark colour, for everything above."""


def sweep_color(position: int) -> str:
    """Return the colour of the sweep at a position; they repeat after the last."""
    return SWEEPS[position % len(SWEEPS)]


def sweep_dash(position: int) -> str:
    """Return the dash of the lines of the sweep at a position."""
    return DASHES[position % len(DASHES)]


def sweep_symbol(position: int) -> str:
    """Return the symbol of the points of the sweep at a position."""
    return SYMBOLS[position % len(SYMBOLS)]
