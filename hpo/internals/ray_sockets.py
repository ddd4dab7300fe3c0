"""Recognise the error that Ray raises where the paths of its sockets are too long.

Ray puts them below the folder for temporary files and promises neither the error's text nor their
names. Starts nothing.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

FOLDER_VARIABLES: Final = ("RAY_TMPDIR", "TMPDIR")
"""Environment variables that name that folder to Ray, the first one that is set."""
_TEXT = re.compile(r"AF_UNIX path length cannot exceed (\d+) bytes: (.*)", re.DOTALL)


class LongPath(NamedTuple):
    """A path that is too long for a socket."""

    path: str
    most_bytes: int


def too_long_socket(error: Exception) -> LongPath | None:
    """Return the path that Ray complains about in ``error``; None if that is something else."""
    found = _TEXT.search(str(error))
    return None if found is None else LongPath(found[2], int(found[1]))
