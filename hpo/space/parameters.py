"""Define the settings a search may vary: their valid values and the ranges a space searches.

A ``Setting`` is the rule that the trainer or a loss imposes (``batch_size`` is a whole number of at
least 1); a ``Range`` or ``Choices`` is the part of it that a search space explores, read from plain
YAML values and turned into an Optuna distribution. Draws no values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from core.errors import ConfigError
from core.forms import FORMS
from hpo.space.plain_numbers import advice_on, read_decimal, read_whole
from hpo.space.strict_yaml import Problems

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Value = int | float | str


@dataclass(frozen=True)
class Setting:
    """The valid values of one setting."""

    kind: Literal["float", "int", "name"]
    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False
    """Whether ``low`` itself is excluded."""
    names: tuple[str, ...] = ()
    """For the kind ``name``: the valid names."""

    @property
    def rule(self) -> str:
        """The rule in words, e.g. ``a whole number of at least 1``."""
        if self.kind == "name":
            return f"one of {', '.join(self.names)}"
        noun = "a whole number" if self.kind == "int" else "a number"
        if self.above_low:
            most = f", at most {self.high:g}" if math.isfinite(self.high) else ""
            return f"{noun} above {self.low:g}{most}"
        if math.isfinite(self.high):
            return f"{noun} from {self.low:g} to {self.high:g}"
        return f"{noun} of at least {self.low:g}"

    @property
    def parameter_types(self) -> tuple[str, ...]:
        """The values of ``type`` that a search space may use for this setting."""
        return ("categorical",) if self.kind == "name" else (self.kind, "categorical")

    def read(self, value: object) -> Value:
        """Return ``value`` in this setting's type.

        Numbers may be given as text (``hpo.space.plain_numbers``), as the command line passes them.

        Raises:
            ConfigError: the value breaks the rule.
        """
        number = _as_number(value, self.kind)
        if number is not None and self._allows(number):
            return number
        if self.kind == "name" and value in self.names:
            return str(value)
        raise ConfigError(f"must be {self.rule}, got {value!r}{_advice(value, self.kind)}")

    def _allows(self, number: float) -> bool:
        above = number > self.low if self.above_low else number >= self.low
        return above and number <= self.high


PRUNE: Final = "prune"
"""The method that prunes a trained network, with any loss; all other methods are losses."""

STUDENT_WIDTHS: Final = {
    "block1_hidden": Setting("int", low=1),
    "block1_out": Setting("int", low=1),
    "block2_hidden": Setting("int", low=1),
    "block2_out": Setting("int", low=1),
}
"""Channels of a student's layers: those of the first two layers of each block, and of its last.
By default those of its form (``core.forms``); of the paper's Table 1: 2, 4, 2, 8."""

BLOCKS: Final = "blocks"
"""How many ST blocks a student has; twelve readings are too few for a third. Of one block the
widths of the second go unused."""

NETWORK_PARAMETERS: Final = {
    **STUDENT_WIDTHS,
    BLOCKS: Setting("int", low=1, high=2),
    "form": Setting("name", names=tuple(FORMS)),
    "sensor_rank": Setting("int", low=1),
    "missing_mask": Setting("int", low=0, high=1),
}
"""What decides the shape of a student that is trained from scratch."""

PRUNING_PARAMETERS: Final = {
    "pruning_ratio": Setting("float", low=0, high=0.999, above_low=True),
    "pruning_interval": Setting("int", low=1),
    "fine_tuning_epochs": Setting("int", low=0),
}
"""The settings of pruning: the share of parameters to remove, the training steps between removals,
and the epochs on the plain loss at the end."""


def training_parameters() -> dict[str, Setting]:
    """Return the settings of every training run, whatever its loss."""
    from core.distillation.response import ERRORS  # noqa: PLC0415 - torch is slow to import
    from core.training.config import (  # noqa: PLC0415 - with the errors
        OPTIMIZERS,
        SCHEDULES,
    )

    return {
        "batch_size": Setting("int", low=1),
        "learning_rate": Setting("float", low=0, above_low=True),
        "optimizer": Setting("name", names=tuple(OPTIMIZERS)),
        "schedule": Setting("name", names=tuple(SCHEDULES)),
        "windows_per_segment": Setting("int", low=1),
        "error": Setting("name", names=tuple(ERRORS)),
    }


def loss_parameters(method: str) -> dict[str, Setting]:
    """Return the hyperparameters of a loss, each with the range in its field.

    ``prune`` has those of all losses, since any of them may be used for fine-tuning. A name that
    several losses share gets the smallest range that covers all of theirs.
    """
    from core.distillation.hyperparameters import (  # noqa: PLC0415 - with the losses
        hyperparameter_bounds,
    )
    from core.distillation.losses import LOSSES  # noqa: PLC0415 - torch is slow to import

    settings: dict[str, Setting] = {}
    for loss in LOSSES.values() if method == PRUNE else [LOSSES[method]]:
        for name, bounds in hyperparameter_bounds(loss).items():
            known = settings.get(name, bounds)
            low, high = min(known.low, bounds.low), max(known.high, bounds.high)
            settings[name] = Setting("float", low, high)
    return settings


MOST_WHOLE_NUMBERS: Final = 1_000_000
"""Of a range: a Gaussian process lists all of them."""


@dataclass(frozen=True)
class Range:
    """All numbers from ``low`` to ``high``, both included."""

    type: Literal["float", "int"]
    low: float
    high: float
    log: bool = False
    """Whether a search samples them uniformly on a logarithmic scale."""
    step: float | None = None
    """Distance between neighbouring values; None: any number, or every whole number."""

    @property
    def rule(self) -> str:
        """The rule in words."""
        grid = f" in steps of {self.step:g}" if self.step else ""
        return f"between {self.low:g} and {self.high:g}{grid}"

    def contains(self, value: Value) -> bool:
        """Return whether a search could draw ``value``."""
        if isinstance(value, str) or not self.low <= value <= self.high:
            return False
        return self.step is None or _is_whole((value - self.low) / self.step)

    @property
    def ends(self) -> tuple[Value, Value]:
        """The smallest and the largest value."""
        kind = int if self.type == "int" else float
        return kind(self.low), kind(self.high)

    def distribution(self) -> BaseDistribution:
        """Return the equivalent Optuna distribution."""
        from optuna.distributions import (  # noqa: PLC0415 - optuna is slow to import
            FloatDistribution,
            IntDistribution,
        )

        if self.type == "float":
            return FloatDistribution(self.low, self.high, log=self.log, step=self.step)
        return IntDistribution(
            int(self.low), int(self.high), log=self.log, step=int(self.step or 1)
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values that identify it, in the format of a space file."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Choices:
    """A finite set of values without an order."""

    choices: tuple[Value, ...]

    @property
    def rule(self) -> str:
        """The rule in words."""
        return f"one of {', '.join(map(str, self.choices))}"

    def contains(self, value: Value) -> bool:
        """Return whether a search could draw ``value``."""
        return value in self.choices

    @property
    def ends(self) -> tuple[Value, Value]:
        """The smallest and the largest number; for names, the first one twice."""
        numbers = [value for value in self.choices if not isinstance(value, str)]
        return (min(numbers), max(numbers)) if numbers else (self.choices[0], self.choices[0])

    def distribution(self) -> BaseDistribution:
        """Return the equivalent Optuna distribution."""
        from optuna.distributions import (  # noqa: PLC0415 - optuna is slow to import
            CategoricalDistribution,
        )

        return CategoricalDistribution(self.choices)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that identify it."""
        return {"type": "categorical", "choices": list(self.choices)}


Parameter = Range | Choices


def read_parameter(
    path: str, fields: object, setting: Setting, problems: Problems
) -> Parameter | None:
    """Read one setting's entry in a search space; None if ``problems`` were noted."""
    if not isinstance(fields, Mapping) or "type" not in fields:
        problems.add(path, f"must be a mapping with the key 'type', got {fields!r}")
        return None
    if fields["type"] not in setting.parameter_types:
        allowed = " or ".join(setting.parameter_types)
        problems.add(f"{path}.type", f"must be {allowed}, got {fields['type']!r}")
        return None
    noted = len(problems.lines)
    read = _read_choices if fields["type"] == "categorical" else _read_range
    parameter = read(path, fields, setting, problems)
    return parameter if len(problems.lines) == noted else None


def _read_choices(
    path: str, fields: Mapping[str, object], setting: Setting, problems: Problems
) -> Parameter | None:
    problems.check_keys(path, fields, ("type", "choices"))
    listed = fields.get("choices")
    if not isinstance(listed, list) or not listed:
        if "choices" in fields:
            problems.add(f"{path}.choices", f"must be a list of values, got {listed!r}")
        return None
    choices: list[Value] = []
    for index, raw in enumerate(listed):
        value = read_value(f"{path}.choices.{index}", raw, setting, problems)
        if value in choices:
            problems.add(f"{path}.choices.{index}", f"{value!r} stands twice; keep one")
        elif value is not None:
            choices.append(value)
    return Choices(tuple(choices))


def _read_range(
    path: str, fields: Mapping[str, object], setting: Setting, problems: Problems
) -> Parameter | None:
    problems.check_keys(path, fields, ("type", "low", "high"), "log", "step")
    ends = [
        read_value(f"{path}.{end}", fields[end], setting, problems)
        for end in ("low", "high")
        if end in fields
    ]
    log = fields.get("log", False)
    if not isinstance(log, bool):
        problems.add(f"{path}.log", f"must be true or false, got {log!r}")
    step = None
    if "step" in fields:
        rule = Setting("int" if setting.kind == "int" else "float", low=0, above_low=True)
        step = read_value(f"{path}.step", fields["step"], rule, problems)
    numbers = [end for end in ends if isinstance(end, int | float)]
    if len(numbers) < 2 or isinstance(step, str):
        return None
    kind: Literal["float", "int"] = "int" if setting.kind == "int" else "float"
    parameter = Range(kind, numbers[0], numbers[1], log is True, step)
    _check_range(path, parameter, problems)
    return parameter


def _check_range(path: str, parameter: Range, problems: Problems) -> None:
    low, high, step = parameter.low, parameter.high, parameter.step
    if low >= high:
        problems.add(
            f"{path}.high",
            f"must be above low = {low:g}, got {high:g}; one value alone is type: categorical",
        )
    elif parameter.type == "int" and (high - low) / (step or 1) > MOST_WHOLE_NUMBERS:
        problems.add(
            f"{path}.high",
            f"must leave at most {MOST_WHOLE_NUMBERS:,} whole numbers from {low:g}, got {high:g}; "
            "lower it, or give a step",
        )
    elif step is not None and not _is_whole((high - low) / step):
        problems.add(
            f"{path}.step",
            f"must lead from {low:g} to {high:g} in whole steps, got {step:g}",
        )
    if parameter.log and low <= 0:
        problems.add(f"{path}.low", f"must be above 0 where log is true, got {low:g}")
    if parameter.log and step is not None:
        problems.add(f"{path}.step", "must not stand beside log: true; keep one of them")


def read_value(path: str, raw: object, setting: Setting, problems: Problems) -> Value | None:
    """Return ``raw`` in the setting's type; None if a problem was noted."""
    try:
        return setting.read(raw)
    except ConfigError as error:
        problems.add(path, str(error))
        return None


def _as_number(value: object, kind: str) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or kind == "name":
        return None
    try:
        if kind == "int":
            return _whole(value)
        number = read_decimal(value) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: float | str) -> int | None:
    if isinstance(value, float):
        return None
    return read_whole(value) if isinstance(value, str) else value


def _advice(value: object, kind: str) -> str:
    if isinstance(value, str) and kind != "name":
        return advice_on(value)
    if isinstance(value, bool):
        return "; YAML takes yes, no, on and off for true and false: put the word in quotes"
    return ""


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-8
