"""Define the errors this project raises, as one tree; callers catch them by meaning.

    UserError (ValueError)         a mistake the user can fix: the command line exits with code 2
    ├── ConfigError                a setting out of range, unknown or inconsistent
    ├── UnknownNameError           a name that is not registered; the nearest one is suggested
    ├── DatasetError               readings, distances or cards that break their rules
    ├── ShapeError                 arrays whose axes do not fit together
    ├── DownloadError              a public file that cannot be fetched, or holds other bytes
    ├── CheckpointError            a checkpoint or model file that is damaged or of another kind
    ├── ExportError                an export folder that is incomplete or does not fit its readings
    └── StorageError               a folder that cannot be read, written or locked
    TrainingDivergedError (ArithmeticError)   a loss or weight is no longer finite

Every message says what must hold, what was given, and what to do next. It is written with options
such as ``--max-parameters``; a Python caller reads ``max_parameters`` instead. Nothing here prints
or exits.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_COMMAND_OR_OPTION = re.compile(r"`[^`]*`|(?<![\w-])--([a-z][a-z-]*[a-z])")
_options_named = False


@contextmanager
def options_named() -> Iterator[None]:
    """Let errors of this process name options while the block runs: it is a command line."""
    global _options_named  # noqa: PLW0603 - a process has one command line, or none
    before, _options_named = _options_named, True
    try:
        yield
    finally:
        _options_named = before


class UserError(ValueError):
    """A mistake that the user can fix."""

    def __str__(self) -> str:
        """Return the message, for a command line or with arguments in place of options."""
        text = super().__str__()
        return text if _options_named else _COMMAND_OR_OPTION.sub(_as_argument, text)


def _as_argument(found: re.Match[str]) -> str:
    """Return an option as an argument; what stands in backquotes is a command and stays one."""
    return found[1].replace("-", "_") if found[1] else found[0]


class ConfigError(UserError):
    """A setting is out of range, unknown or inconsistent with another."""


class UnknownNameError(UserError):
    """A name is unknown; the message suggests the nearest known one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        """Say which ``kind`` of name it is, the unknown ``name`` and the ``known`` ones."""
        choices = sorted(known)
        nearest = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
        advice = f"; did you mean {nearest[0]!r}?" if nearest else ""
        listed = ", ".join(choices) if choices else "there is none yet"
        super().__init__(f"unknown {kind} {name!r}{advice} (known: {listed})")


class DatasetError(UserError):
    """Readings, distances or a dataset card break a rule."""


class ShapeError(UserError):
    """The axes of arrays do not fit together."""


class DownloadError(UserError):
    """A public file cannot be fetched, or does not hold what was published."""


class CheckpointError(UserError):
    """A checkpoint or model file is damaged or of another kind."""


class ExportError(UserError):
    """An export folder is incomplete, or does not fit the readings it was given."""


class StorageError(UserError):
    """A folder cannot be read, written or locked."""


class TrainingDivergedError(ArithmeticError):
    """A loss or a weight is no longer finite."""
