"""Short trainings for tests: a small network, and objectives that tell what they were shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor

from core.checkpoint import CheckpointFolder
from core.distillation.interface import LossValue
from core.distillation.response import response_error
from core.experiments import new_network
from core.preprocessing.prepare import PreparedData
from core.shapes import Rows, WindowValues
from core.stgcn import STGCN, Features, STGCNConfig
from core.training.trainer import EpochReport, Objective, Trainer, TrainingConfig

CONFIG = TrainingConfig(epochs=3, batch_size=80, learning_rate=1e-2, windows_per_segment=4)
ONE_STEP = replace(CONFIG, batch_size=800, windows_per_segment=1)
"""Two steps an epoch; the second holds the few windows left."""


@dataclass
class PlainObjective:
    """Squared error, reporting the mean of the rows; keeps what it was shown."""

    rows: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)

    def __call__(
        self, prediction: WindowValues, features: Features, target: WindowValues, rows: Rows
    ) -> LossValue:
        self.rows.append(rows)
        self.targets.append(target)
        return LossValue(response_error(prediction, target), {"row": rows.float().mean()})


@dataclass
class SpoilingObjective(PlainObjective):
    """Makes the network better for ``good_steps`` and worse ever after."""

    good_steps: int = 0

    def __call__(
        self, prediction: WindowValues, features: Features, target: WindowValues, rows: Rows
    ) -> LossValue:
        value = super().__call__(prediction, features, target, rows)
        return value if len(self.rows) <= self.good_steps else LossValue(-value.total)


@dataclass
class Outcome:
    """What a run leaves: weights, metrics and reports without their seconds."""

    metrics: dict[str, float]
    weights: dict[str, Tensor]
    reports: list[EpochReport]
    trainer: Trainer


def network(data: PreparedData, seed: int = 0) -> STGCN:
    shape = STGCNConfig(data.card.num_sensors, ((1, 2, 4), (4, 2, 3)), data.history_steps)
    return new_network(shape, data.graph_kernel, seed)


def train(
    data: PreparedData,
    config: TrainingConfig = CONFIG,
    checkpoints: CheckpointFolder | None = None,
    objective: Objective | None = None,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    on_step: Callable[[int, int, int], None] | None = None,
) -> Outcome:
    reports: list[EpochReport] = []

    def note(report: EpochReport) -> None:
        reports.append(replace(report, seconds=0.0))
        on_epoch(report)

    model = network(data, config.seed)
    trainer = Trainer(model, data, objective or PlainObjective(), config, checkpoints)
    metrics = trainer.run(note, on_step)
    return Outcome(metrics, model.state_dict(), reports, trainer)
