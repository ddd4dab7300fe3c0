"""Define and check the settings of one pruning run.

Does not apply them (``plan`` and ``algorithm`` do).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import ConfigError
from core.training.config import TrainingConfig


@dataclass(frozen=True)
class PruningConfig:
    """The settings of one pruning run; exactly one of the last three sets its target."""

    method: str
    """A name in ``LOSSES``: the loss that fine-tunes and scores; ``none``: no distillation."""
    weights: Mapping[str, float]
    """The loss's hyperparameters: alpha1, alpha2, alpha3, alpha, beta as the method has them."""
    training: TrainingConfig
    """``epochs`` are those of Algorithm 1's loop; the schedule also spans the fine-tuning."""
    pruning_interval: int
    """Training steps from one removal to the next (the paper's pruning_minibatch)."""
    fine_tuning_epochs: int
    """Epochs on the plain loss after the loop (Algorithm 1, line 25)."""
    pruning_ratio: float | None = None
    """Share of the base's parameters to remove."""
    target_parameters: int | None = None
    """Most parameters of the student."""
    share_per_step: float | None = None
    """Share of the filters of each layer to remove every time."""

    def __post_init__(self) -> None:
        """Check that one target is given and that all values are in range."""
        targets = {
            "pruning_ratio": self.pruning_ratio,
            "target_parameters": self.target_parameters,
            "share_per_step": self.share_per_step,
        }
        given = {name: value for name, value in targets.items() if value is not None}
        if len(given) != 1:
            raise ConfigError(
                "exactly one of pruning_ratio, target_parameters and share_per_step must be given, "
                f"got {' and '.join(given) or 'none'}; give one"
            )
        for name in given.keys() & {"pruning_ratio", "share_per_step"}:
            if not 0 < given[name] < 1:
                raise ConfigError(
                    f"{name} must lie between 0 and 1, both excluded, got {given[name]}; "
                    "to remove nothing, train without pruning"
                )
        for name, least in {"pruning_interval": 1, "fine_tuning_epochs": 0}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.training.patience is not None:
            raise ConfigError(
                f"pruning runs all of its epochs, so patience must be None, got "
                f"{self.training.patience}; leave it out"
            )

    @property
    def all_epochs(self) -> int:
        """Epochs of the loop and of the fine-tuning."""
        return self.training.epochs + self.fine_tuning_epochs
