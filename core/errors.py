"""The errors this project raises, as one tree; callers catch by meaning.

    UserError (ValueError)         a mistake its user can mend: the command line exits with code 2
    ├── ConfigError                a setting out of range, unknown or inconsistent
    ├── UnknownNameError           a name that is not registered; the nearest one is suggested
    ├── DatasetError               readings, distances or cards that break their rules
    ├── ShapeError                 arrays whose axes do not fit together
    ├── DownloadError              a public file that cannot be fetched, or holds other bytes
    ├── CheckpointError            a checkpoint or model file that is damaged or of another kind
    ├── ExportError                an export folder that is incomplete or does not fit its readings
    └── StorageError               a folder that cannot be read, written or locked
    TrainingDivergedError (ArithmeticError)   a loss or weight left the finite numbers

Every text says what must hold, what came, and what to do next. Nothing here prints or exits.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the user can mend."""


class ConfigError(UserError):
    """A setting is out of range, unknown or inconsistent with another."""


class UnknownNameError(UserError):
    """A name is not among those known; the message suggests the nearest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        """Name the ``kind`` of thing, what came, and what is ``known``."""
        choices = sorted(known)
        nearest = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
        advice = f"; did you mean {nearest[0]!r}?" if nearest else ""
        listed = ", ".join(choices) if choices else "there is none yet"
        super().__init__(f"unknown {kind} {name!r}{advice} (known: {listed})")


class DatasetError(UserError):
    """Readings, distances or a dataset card break a rule."""


class ShapeError(UserError):
    """Arrays do not fit together."""


class DownloadError(UserError):
    """A public file cannot be fetched, or does not hold what was published."""


class CheckpointError(UserError):
    """A checkpoint or model file is damaged or belongs to something else."""


class ExportError(UserError):
    """An export folder is incomplete, or does not fit the readings it was given."""


class StorageError(UserError):
    """A folder cannot be read, written or locked."""


class TrainingDivergedError(ArithmeticError):
    """A loss or a weight is no longer finite."""
