"""What a section of a report consists of: one sentence that says what is seen, and blocks.

The page and the figure files know nothing else of a section.
"""

from __future__ import annotations

from dataclasses import dataclass

from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Panel:
    """A figure."""

    name: str
    """Unique on the page; its file's name with ``--figures``."""
    title: str
    figure: Figure
    summary: str
    """What it shows, for who cannot see it."""
    choices: tuple[str, ...] = ()
    """Views to choose from: traces whose ``meta`` is one of them are shown in turn."""
    half: bool = False
    """Whether two stand side by side where there is room."""
    least_width: int = 0
    """Pixels; a narrower screen scrolls the figure within its box."""


@dataclass(frozen=True)
class Table:
    """Rows of text; a narrow screen shows each row as a card."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    numeric: tuple[int, ...] = ()
    """Columns set flush right."""


@dataclass(frozen=True)
class Numbers:
    """A few numbers set large, each with what it is."""

    items: tuple[tuple[str, str], ...]
    """Number, what it is."""


@dataclass(frozen=True)
class Commands:
    """Lines to be typed, with a button that copies them."""

    lines: tuple[str, ...]
    title: str = ""


Block = Panel | Table | Numbers | Commands


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    seen: str
    """One sentence: what is to be seen here."""
    blocks: tuple[Block, ...] = ()
    note: str = ""
    """How it was made, and what not to read into it."""

    @property
    def panels(self) -> tuple[Panel, ...]:
        """Its figures."""
        return tuple(block for block in self.blocks if isinstance(block, Panel))
