"""The settings of one sweep, checked; JSON of them and back.

What is searched within a trial stands in the search space, what surrounds the trials stands here.
Starts nothing.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from core.distillation.teacher_targets import MEMORY_BUDGET
from core.errors import ConfigError, UnknownNameError
from core.files import check_name
from core.metrics import METRICS
from core.preprocessing.prepare import HORIZON_MINUTES

OBJECTIVES = tuple(
    f"val_{metric}{horizon}"
    for metric in METRICS
    for horizon in ("", *(f"_{minutes}" for minutes in HORIZON_MINUTES))
)
"""What a sweep may minimise: the mean of the horizons, or one of them."""


@dataclass(frozen=True)
class SweepConfig:
    """One sweep: so many trials of one method on one dataset."""

    name: str
    method: str
    dataset: str
    trials: int = 20
    epochs: int = 30
    """The most a trial may train."""
    sampler: str = "tpe"
    scheduler: str = "none"
    objective: str = "val_mae"
    """The metric that is minimised."""
    seed: int = 0
    teacher: str | None = None
    """A teacher's fingerprint; None: the best there is, or a new one."""
    cpus_per_trial: int = 1
    gpus_per_trial: float | None = None
    """May be a fraction; None: one if the cluster has GPUs, else none."""
    max_concurrent: int | None = None
    """Trials at once; None: as many as the cluster has room for."""
    targets_gigabytes: float = MEMORY_BUDGET / 1e9
    """Room for what is stored of the teacher on each machine, shared by its trials; what does not
    fit is stored in a smaller form, or computed by the teacher for every batch."""
    pairs: int | None = None
    """Pairs of sensors that SCD compares per time step, a sample; None: all of them."""

    def __post_init__(self) -> None:
        """Refuse what cannot run."""
        check_name("sweep", self.name)
        for name in ("trials", "epochs", "cpus_per_trial", "max_concurrent", "pairs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{_option(name)} must be at least 1, got {value}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"--seed must be from 0 to {2**32 - 1}, got {self.seed}")
        if self.gpus_per_trial is not None:
            _check_gpus(self.gpus_per_trial)
        if not 0 <= self.targets_gigabytes < math.inf:
            raise ConfigError(
                f"--targets-gigabytes must be at least 0, got {self.targets_gigabytes}"
            )
        if self.objective not in OBJECTIVES:
            raise UnknownNameError("objective", self.objective, OBJECTIVES)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SweepConfig:
        """Read what ``to_json`` returned, or JSON of it; unknown keys are errors."""
        for name in values:
            if name not in {field.name for field in fields(cls)}:
                raise UnknownNameError("sweep setting", name, [field.name for field in fields(cls)])
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(
                f"a sweep needs name, method and dataset, got {json.dumps(values)}"
            ) from error


def _check_gpus(gpus: float) -> None:
    # Written so that NaN is refused too.
    if not 0 <= gpus < math.inf:
        raise ConfigError(f"--gpus-per-trial must not be negative or infinite, got {gpus}")
    if gpus > 1 and gpus % 1:
        raise ConfigError(
            f"--gpus-per-trial must be at most 1 or a whole number, got {gpus}; "
            "a trial cannot share parts of several GPUs"
        )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
