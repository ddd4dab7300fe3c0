"""Hyperparameters of any loss, for tests that run over all of them."""

from __future__ import annotations

from core.distillation.hyperparameters import hyperparameter_bounds
from core.distillation.losses import LOSSES


def settings_of(method: str, share: float = 0.4) -> dict[str, float]:
    """Each hyperparameter, as far up its own range as ``share`` says."""
    ranges = hyperparameter_bounds(LOSSES[method])
    return {name: one.low + share * (one.high - one.low) for name, one in ranges.items()}
