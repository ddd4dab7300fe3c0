"""Refuse a search space that allows a trial which ``core`` would refuse when it runs.

Configurations at the ends of a space are made into what a trial trains with, and judged by the
checks that ``core`` makes in a trial (``hpo.trials.trial_settings.check_trial``): no rule is
repeated here. Changes no space.
"""

from __future__ import annotations

from itertools import product

from core.distillation.hyperparameters import hyperparameter_bounds
from core.distillation.losses import LOSSES
from core.errors import ConfigError
from hpo.space.parameters import Choices, Range, Value
from hpo.space.search_space import SearchSpace, corners
from hpo.trials.trial_settings import Settings, StudentSizes, check_trial

SEGMENTS = 16
"""Lengths of segments of a range that are judged: all of them where there are no more."""


def check_space(space: SearchSpace, sizes: StudentSizes) -> None:
    """Refuse a space unless every trial of it can run.

    Args:
        space: fitted to the sweep.
        sizes: of the sweep's students.

    Raises:
        ConfigError: with the settings of a trial that could not run, and why.
    """
    _check_all_held(space, sizes.config.loss_name)
    for settings in [*_ends(space), *space.points()]:
        try:
            check_trial(sizes, settings)
        except ConfigError as error:
            raise ConfigError(
                f"every trial of the space must be able to run, but with {_named(settings, error)} "
                f"{error}; narrow the space by --space or --set"
            ) from error


def segment_lengths(space: SearchSpace) -> list[int]:
    """Return the values of ``windows_per_segment`` to judge by; none if it is not searched.

    Neither windows left out nor steps grow steadily with it, so its ends alone do not say enough.
    """
    parameter = space.parameters.get("windows_per_segment")
    if isinstance(parameter, Choices):
        return [int(value) for value in parameter.choices]
    if not isinstance(parameter, Range):
        return []
    low, high = int(parameter.low), int(parameter.high)
    stride = max(1, (high - low) // (SEGMENTS - 1))
    return [*range(low, high, stride), high]


def _ends(space: SearchSpace) -> list[Settings]:
    """Return the smallest and the largest settings with all ends of batches and segments."""
    batches = {space.smallest("batch_size"), space.largest("batch_size")} - {0}
    varied: dict[str, list[Value]] = {
        "batch_size": sorted(int(size) for size in batches),
        "windows_per_segment": [*segment_lengths(space)],
    }
    searched = {name: values for name, values in varied.items() if values}
    found = [
        {**corner, **dict(zip(searched, values, strict=True))}
        for corner in corners(space)
        for values in product(*searched.values())
    ]
    return [one for at, one in enumerate(found) if one not in found[:at]]


def _check_all_held(space: SearchSpace, loss: str) -> None:
    bounds = hyperparameter_bounds(LOSSES[loss])
    missing = sorted(bounds.keys() - space.parameters.keys())
    if missing:
        middle = (bounds[missing[0]].low + bounds[missing[0]].high) / 2
        raise ConfigError(
            f"loss {loss} needs {missing[0]}, which the space does not hold; hold it at one value "
            f"by --set {missing[0]}={middle:g}, or vary it in a --space of your own"
        )


def _named(settings: Settings, error: ConfigError) -> str:
    """Return the settings that an error is about, as ``batch_size=16 windows_per_segment=60``."""
    of_batches = {"batch_size", "windows_per_segment"}
    meant = {name for name in settings if name in str(error)}
    meant |= of_batches if meant & of_batches else set()
    shown = [f"{name}={settings[name]}" for name in settings if name in meant or not meant]
    return " ".join(shown)
