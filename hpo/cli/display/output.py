"""Print the answers of commands: tables for people, JSON for programs.

JSON goes to standard output alone, so that it can be piped; everything else that a command prints
goes to ``error_console`` then. Does not decide what is shown.
"""

from __future__ import annotations

import json
from enum import StrEnum
from importlib.util import find_spec
from typing import Any

from rich.console import Console


class Format(StrEnum):
    """The values of ``--format``."""

    table = "table"
    json = "json"


console = Console()
"""Standard output, for people."""
error_console = Console(stderr=True)
"""Standard error."""
LOOKS_AHEAD = (
    "gaps are interpolated: these errors look ahead and are too good; --gaps causal does not"
)
"""What is said wherever errors are shown that a forecast could not have reached."""


def can_redraw(shown: Console) -> bool:
    """Return whether a console can replace what it shows: a terminal, or a notebook's widgets."""
    return shown.is_terminal or (shown.is_jupyter and find_spec("ipywidgets") is not None)


def print_line(text: str) -> None:
    """Print a line of an answer to standard output as it is, however long."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_note(text: str) -> None:
    """Print a line beside the answer, to standard error, as it is, however long."""
    error_console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print ``value`` as JSON to standard output, without colour or wrapping."""
    print(json.dumps(value, indent=2, allow_nan=False))
