"""Settings of one pruning run, checked. What they do is in ``plan`` and ``algorithm``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import ConfigError
from core.training.config import TrainingConfig


@dataclass(frozen=True)
class PruningConfig:
    """How a trained network is pruned; exactly one of the last three says how far."""

    method: str
    """A name in ``LOSSES``: what fine-tunes and scores; ``none`` is the baseline without KD."""
    weights: Mapping[str, float]
    """The loss's hyperparameters: alpha1, alpha2, alpha3, alpha, beta as the method has them."""
    training: TrainingConfig
    """Its ``epochs`` are those of Algorithm 1's loop; its schedule spans the fine-tuning too."""
    pruning_interval: int
    """Training steps from one removal to the next (the paper's pruning_minibatch)."""
    fine_tuning_epochs: int
    """On the plain loss, after the loop (Algorithm 1, line 25)."""
    pruning_ratio: float | None = None
    """Share of the base's parameters that leaves."""
    target_parameters: int | None = None
    """Parameters that the student may have."""
    share_per_step: float | None = None
    """Share of the filters that leaves in each layer at every removal."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot prune."""
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
        """Of the loop and of the fine-tuning."""
        return self.training.epochs + self.fine_tuning_epochs
