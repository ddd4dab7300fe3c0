"""Prune a trained network to a student whose shape the pruning finds (Algorithm 1).

Does not define the losses that fine-tune it (``core.distillation``).
"""

from __future__ import annotations

from core.pruning.algorithm import PrunedNetwork, PruningStep, prune
from core.pruning.config import PruningConfig

__all__ = ["PrunedNetwork", "PruningConfig", "PruningStep", "prune"]
