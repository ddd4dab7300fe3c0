"""Define what a section of a report consists of: a sentence that says what is seen, and blocks.

The page and the figure files use nothing else of a section. Draws and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Panel:
    """A figure."""

    name: str
    """Unique on the page; its file's name with ``--figures``."""
    title: str
    figure: Figure
    summary: str
    """What it shows, for readers who cannot see it."""
    choices: tuple[str, ...] = ()
    """Views to choose from; a trace whose ``meta`` names a view is shown in that view only."""
    half: bool = False
    """Whether two such figures share a row where there is room."""
    least_width: int = 0
    """Pixels; a narrower screen scrolls the figure within its box."""


@dataclass(frozen=True)
class Table:
    """Rows of text; a narrow screen shows each row as a card."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    numeric: tuple[int, ...] = ()
    """Positions of the columns set flush right."""


@dataclass(frozen=True)
class Numbers:
    """A few numbers in large type, each with its label."""

    items: tuple[tuple[str, str], ...]
    """Pairs of number and label."""


@dataclass(frozen=True)
class Commands:
    """Commands to type, with a button that copies them."""

    lines: tuple[str, ...]
    title: str = ""


Block = Panel | Table | Numbers | Commands


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    seen: str
    """One sentence: what the section shows."""
    blocks: tuple[Block, ...] = ()
    note: str = ""
    """How it was made, and what not to read into it."""

    @property
    def panels(self) -> tuple[Panel, ...]:
        """Its figures."""
        return tuple(block for block in self.blocks if isinstance(block, Panel))
