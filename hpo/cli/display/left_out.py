"""Print what was left out because it is damaged, while a command goes on with the rest.

``core.files.log_left_out`` says what; a command that leaves anything out ends with exit code 1.
Reads no files.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LOGGER = "core.left_out"
"""That of ``core.files``, which would load more than a command's help needs."""


class LeftOut(logging.Handler):
    """Prints each line once."""

    def __init__(self) -> None:
        """Begin without any."""
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Print a new line."""
        line = " ".join(record.getMessage().split())
        if line not in self.lines:
            self.lines.append(line)
            print(f"hpo: {line}", file=sys.stderr)


@contextmanager
def left_out_printed() -> Iterator[LeftOut]:
    """Print what is left out while the block runs; yield the lines."""
    handler, logger = LeftOut(), logging.getLogger(LOGGER)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
