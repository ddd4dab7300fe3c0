"""The colours of the page and of every figure, for light and for dark.

Figures are drawn in the light colours; the page's script replaces each by its dark counterpart.
Sweeps have Okabe and Ito's colours, which colour-blind people can tell apart, and dashes besides.
"""

from __future__ import annotations

from typing import Final

INK: Final = "#1f2730"
"""Text, and what really happened."""
MUTED: Final = "#5c6773"
"""Axes, and what is beside the point."""
FAINT: Final = "#b7bec7"
"""Trials that are not the best."""
GRID: Final = "#e7e9ec"
CARD: Final = "#fefefe"
"""Behind every figure."""
TEACHER: Final = "#4b4f56"
REPEAT_LAST: Final = "#8f8a83"
PAPER: Final = "#7d6a9e"

SWEEPS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES: Final = ("solid", "dash", "dashdot", "longdash", "longdashdot", "dot")
SYMBOLS: Final = ("circle", "square", "triangle-up", "pentagon", "hexagon", "star-triangle-up")

ERRORS: Final = ("#00406b", "#2f6f9f", "#6d9cc0", "#a5bfd3", "#cdd6de")
"""From the lowest error to the highest."""
HOURS: Final = ("#1d2f6f", "#3f7fb5", "#e2a32c", "#c9521c")
"""Of night, morning, midday, afternoon."""

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
"""Light -> dark, for everything above."""


def sweep_color(position: int) -> str:
    """Return the colour of the sweep at a position; after the last they begin anew."""
    return SWEEPS[position % len(SWEEPS)]


def sweep_dash(position: int) -> str:
    """Return the dash of a sweep's lines; another one where colours begin anew."""
    return DASHES[position % len(DASHES)]


def sweep_symbol(position: int) -> str:
    """Return the symbol of a sweep's points."""
    return SYMBOLS[position % len(SYMBOLS)]
