"""How one network is trained: optimisers, schedules of the learning rate, and all settings.

Names and numbers in, checked settings out. Trains nothing; the loop is in
``core.training.trainer``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from core.errors import ConfigError

OptimizerName = Literal["rmsprop", "adam"]
ScheduleName = Literal["step", "cosine"]
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
}
SCHEDULES: dict[str, Callable[[int, int], float]] = {
    # Epoch (from 0) and epochs in all -> factor of the learning rate.
    "step": lambda epoch, _: 0.7 ** (epoch // 5),
    "cosine": lambda epoch, epochs: 0.5 * (1.0 + math.cos(math.pi * epoch / epochs)),
}


@dataclass(frozen=True)
class TrainingConfig:
    """How one network is trained; the defaults are the paper's recipe."""

    epochs: int = 50
    batch_size: int = 50
    """Windows per step."""
    learning_rate: float = 1e-3
    optimizer: OptimizerName = "rmsprop"
    schedule: ScheduleName = "step"
    """``step``: x0.7 every 5 epochs; ``cosine``: to zero at the end."""
    windows_per_segment: int = 1
    """Consecutive windows that are computed together: they share most of their convolutions."""
    patience: int | None = None
    """Stop after so many epochs without a better validation error; None: never."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        whole = {"epochs": self.epochs, "batch_size": self.batch_size}
        whole["windows_per_segment"] = self.windows_per_segment
        if self.patience is not None:
            whole["patience"] = self.patience
        for name, value in whole.items():
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate must be positive, got {self.learning_rate}")
        if self.optimizer not in get_args(OptimizerName):
            raise ConfigError(f"optimizer must be rmsprop or adam, got {self.optimizer!r}")
        if self.schedule not in get_args(ScheduleName):
            raise ConfigError(f"schedule must be step or cosine, got {self.schedule!r}")
        if self.windows_per_segment > self.batch_size:
            raise ConfigError(
                f"windows_per_segment must not exceed batch_size = {self.batch_size}, "
                f"got {self.windows_per_segment}"
            )
