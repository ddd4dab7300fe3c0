"""Define and check the settings of a training run: optimiser, learning-rate schedule, sizes.

Optimisers and schedules are named in two registries and nowhere else: a new one is a line of
``OPTIMIZERS`` or ``SCHEDULES``, and every search may then choose it. Trains nothing; the loop is in
``core.training.trainer``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import torch

from core.distillation.response import check_error
from core.errors import ConfigError

OPTIMIZERS: Final[dict[str, type[torch.optim.Optimizer]]] = {
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
}
"""Every optimiser by its name; each takes the weights and a learning rate ``lr``."""


def _cosine(epoch: float, epochs: int) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))


SCHEDULES: Final[dict[str, Callable[[float, int], float]]] = {
    "step": lambda epoch, _: 0.7 ** (math.floor(epoch) // 5),
    "cosine": lambda epoch, epochs: _cosine(float(math.floor(epoch)), epochs),
    "warmup": lambda epoch, epochs: min(1.0, epoch) * _cosine(epoch, epochs),
}
"""Every schedule by its name: epochs trained so far, with the part of the present one, and number
of epochs to the learning rate's factor."""


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of one training; the defaults are those of the paper."""

    epochs: int = 50
    batch_size: int = 50
    """Windows per step."""
    learning_rate: float = 1e-3
    optimizer: str = "rmsprop"
    """A key of ``OPTIMIZERS``."""
    schedule: str = "step"
    """A key of ``SCHEDULES``. ``step``: x0.7 every 5 epochs; ``cosine``: to zero at the end, epoch
    by epoch; ``warmup``: from zero over the first epoch, then as cosine, step by step."""
    windows_per_segment: int = 1
    """Consecutive windows computed in one pass, which share most of their convolutions."""
    patience: int | None = None
    """Stop after so many epochs without a better validation error; None: never."""
    seed: int = 0
    error: str = "mse"
    """How responses are compared, a key of ``ERRORS`` (``core.distillation.response``)."""

    def __post_init__(self) -> None:
        """Check ranges and names."""
        whole = {"epochs": self.epochs, "batch_size": self.batch_size}
        whole["windows_per_segment"] = self.windows_per_segment
        if self.patience is not None:
            whole["patience"] = self.patience
        for name, value in whole.items():
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate must be positive, got {self.learning_rate}")
        _check_registered("optimizer", self.optimizer, OPTIMIZERS)
        _check_registered("schedule", self.schedule, SCHEDULES)
        check_error(self.error)
        if self.windows_per_segment > self.batch_size:
            raise ConfigError(
                f"windows_per_segment must not exceed batch_size = {self.batch_size}, "
                f"got {self.windows_per_segment}"
            )


def _check_registered(setting: str, name: str, registry: Collection[str]) -> None:
    if name not in registry:
        raise ConfigError(f"{setting} must be {' or '.join(registry)}, got {name!r}")
