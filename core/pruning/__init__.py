"""A trained network in, a student whose shape was found by pruning out (Algorithm 1)."""

from __future__ import annotations

from core.pruning.algorithm import PrunedNetwork, PruningStep, prune
from core.pruning.config import PruningConfig

__all__ = ["PrunedNetwork", "PruningConfig", "PruningStep", "prune"]
