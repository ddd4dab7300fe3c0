"""Give each hyperparameter of a loss its range, in the field of the loss that holds it.

    temperature: float = field(metadata=within(0.5, 10.0))

The checks of a loss, the rules of search spaces and what pruning leaves out are all derived from
these ranges. Knows no loss by name and searches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from core.errors import ConfigError

_KEY: Final = "bounds"
"""Where the metadata of a dataclass field holds its range."""


@dataclass(frozen=True)
class Bounds:
    """All numbers from ``low`` to ``high``, both included."""

    low: float
    high: float

    def contains(self, value: object) -> bool:
        """Say whether ``value`` is one of these numbers; true, false and NaN are none."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high

    def problems(self, name: str, value: object) -> list[str]:
        """Say what ``value`` must be, if it is not; nothing otherwise."""
        if self.contains(value):
            return []
        return [f"{name} must be a number in [{self.low:g}, {self.high:g}], got {value!r}"]


SHARE: Final = Bounds(0.0, 1.0)
"""The range of a share of a whole."""


def within(low: float, high: float) -> dict[str, Bounds]:
    """Return the metadata of a dataclass field that holds a number from ``low`` to ``high``."""
    return {_KEY: Bounds(low, high)}


def hyperparameter_bounds(loss: Any) -> dict[str, Bounds]:
    """Return the range of every hyperparameter by its name, in the order of the fields.

    Args:
        loss: a loss, or its class.

    Raises:
        TypeError: a field has no range.
    """
    for entry in fields(loss):
        if _KEY not in entry.metadata:
            raise TypeError(
                f"each field of a loss must hold its range, but {entry.name} has none; write "
                f"{entry.name}: float = field(metadata=within(low, high))"
            )
    return {entry.name: entry.metadata[_KEY] for entry in fields(loss)}


def hyperparameter_problems(loss: Any, given: Mapping[str, object]) -> list[str]:
    """Say which hyperparameters of ``loss`` are missing, unknown or out of range in ``given``."""
    bounds = hyperparameter_bounds(loss)
    problems = [f"{name} is missing" for name in bounds if name not in given]
    problems += [f"{name} is unknown" for name in given if name not in bounds]
    for name in given:
        if name in bounds:
            problems += bounds[name].problems(name, given[name])
    return problems


def check_share(name: str, value: float) -> None:
    """Raise ``ConfigError`` unless ``value`` lies in [0, 1]."""
    raise_problems(SHARE.problems(name, value))


def raise_problems(problems: list[str]) -> None:
    """Raise one ``ConfigError`` that names all ``problems``, if there are any."""
    if problems:
        raise ConfigError("; ".join(problems))
