"""How commands answer: tables for people, JSON for programs.

JSON goes to standard output alone, so that it can be piped; whatever else a command has to say
goes to ``error_console`` then. Knows nothing of what is shown.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

from rich.console import Console


class Format(StrEnum):
    """What ``--format`` takes."""

    table = "table"
    json = "json"


console = Console()
"""Standard output, for people."""
error_console = Console(stderr=True)
"""Standard error."""


def print_json(value: Any) -> None:
    """Print ``value`` as JSON to standard output, without colour or wrapping."""
    print(json.dumps(value, indent=2, allow_nan=False))
