"""Short pruning runs for tests: a small base, settings, and what a run leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from core.checkpoint import CheckpointFolder
from core.experiments import new_network
from core.preprocessing.prepare import PreparedData
from core.pruning import PrunedNetwork, PruningConfig, PruningStep, prune
from core.stgcn import STGCN, STGCNConfig
from core.training.trainer import EpochReport, Objective, TrainingConfig
from tests.core.training_runs import PlainObjective

TRAINING = TrainingConfig(epochs=2, batch_size=80, learning_rate=1e-2, windows_per_segment=4)
CONFIG = PruningConfig("none", {}, TRAINING, 4, 2, pruning_ratio=0.5)
"""Eleven steps or so an epoch: five removals, two or three an epoch, then two epochs without."""
BASE_CHANNELS = ((1, 5, 6), (6, 4, 7))
"""Residuals that grow and shrink."""


@dataclass
class PruningOutcome:
    """What a run leaves: all but its seconds, which no two runs share."""

    found: PrunedNetwork
    reports: list[EpochReport]

    @property
    def weights(self) -> dict[str, Tensor]:
        return self.found.model.state_dict()

    @property
    def numbers(self) -> dict[str, Any]:
        found = self.found
        return {
            "kept": found.model.config.kept,
            "metrics": found.metrics,
            "best_epoch": found.best_epoch,
            "epochs": found.epochs,
            "trajectory": found.trajectory,
        }

    @property
    def removals(self) -> list[PruningStep]:
        return [step for step in self.found.trajectory if step.metrics is None]


def base_network(data: PreparedData, seed: int = 0) -> STGCN:
    shape = STGCNConfig(data.card.num_sensors, BASE_CHANNELS, data.history_steps)
    return new_network(shape, data.graph_kernel, seed)


def run_pruning(
    data: PreparedData,
    config: PruningConfig = CONFIG,
    checkpoints: CheckpointFolder | None = None,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    objective: Objective | None = None,
    fine_tuning: Objective | None = None,
) -> PruningOutcome:
    reports: list[EpochReport] = []

    def note(report: EpochReport) -> None:
        reports.append(replace(report, seconds=0.0))
        on_epoch(report)

    found = prune(
        base_network(data),
        data,
        objective or PlainObjective(),
        fine_tuning or PlainObjective(),
        config,
        checkpoints,
        note,
    )
    return PruningOutcome(found, reports)
