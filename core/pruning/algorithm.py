"""A trained network and a loss in, a student whose shape was found by pruning out (Algorithm 1).

While the loss fine-tunes the network, every training step's own gradients score its filters; every
few steps those with the lowest scores leave for good. At the end the student is fine-tuned on the
plain loss. Where the loss and the teacher come from is not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from core.checkpoint import CheckpointFolder
from core.evaluation.profiling import count_flops, count_parameters
from core.preprocessing.prepare import PreparedData
from core.pruning.config import PruningConfig
from core.pruning.importance import RunningScores, filter_scores
from core.pruning.plan import PruningPlan, plan_pruning
from core.pruning.shrinking import shrink, shrink_optimizer
from core.shapes import Rows, WindowValues
from core.stgcn import STGCN, Features
from core.stgcn_config import Kept
from core.training.trainer import EpochReport, Objective, ObjectiveValue, Trainer


@dataclass(frozen=True)
class PruningStep:
    """The network after a removal or at the end of an epoch."""

    epoch: int
    """From 1."""
    step: int
    """Training steps so far, over all epochs."""
    parameters: int
    flops: int
    """Of one forward pass over one window."""
    metrics: dict[str, float] | None = None
    """At the end of an epoch, as its report says; None after a removal."""


@dataclass(frozen=True)
class PrunedNetwork:
    """The student with the weights of its best epoch since the last removal."""

    model: STGCN
    """Its masks M, in original indices, are ``model.config.kept``."""
    metrics: dict[str, float]
    """Of that epoch."""
    best_epoch: int
    epochs: int
    """Of the loop and of the fine-tuning."""
    seconds: float
    trajectory: list[PruningStep]


def prune(
    base: STGCN,
    data: PreparedData,
    objective: Objective,
    fine_tuning: Objective,
    config: PruningConfig,
    checkpoints: CheckpointFolder | None,
    on_epoch: Callable[[EpochReport], None],
) -> PrunedNetwork:
    """Run Algorithm 1.

    Args:
        base: trained, on the device of ``data``; left as it is.
        data: what it was trained on.
        objective: fine-tunes and scores in the loop.
        fine_tuning: judges the epochs after the loop.
        config: how far and how long; its method and weights are the caller's.
        checkpoints: where this very run keeps its states, or None.
        on_epoch: called after every epoch; epochs count on through the fine-tuning.

    Raises:
        ConfigError: the settings cannot be met (``plan_pruning``).
        TrainingDivergedError: the numbers left the finite ones.
    """
    plan = plan_pruning(base.config, data, config)
    pruner = _Pruner(plan, objective, fine_tuning)
    training = replace(config.training, epochs=config.all_epochs)
    model = shrink(base, base.config.kept_channels)
    trainer = Trainer(model, data, pruner, training, checkpoints, pruner)
    metrics = trainer.run(on_epoch)
    state, steps = trainer.state, pruner.trajectory
    return PrunedNetwork(
        trainer.model, metrics, state.best_epoch, state.epoch, state.seconds, steps
    )


@dataclass
class _Pruner:
    """Algorithm 1 as what it is to the training loop: an objective and a ``Surgeon``."""

    plan: PruningPlan
    objective: Objective
    fine_tuning: Objective
    steps: int = 0
    epochs: int = 0
    scores: RunningScores = field(default_factory=RunningScores)
    trajectory: list[PruningStep] = field(default_factory=list)

    def __call__(
        self, prediction: WindowValues, features: Features, target: WindowValues, rows: Rows
    ) -> ObjectiveValue:
        in_loop = self.steps < self.plan.loop_steps
        judge = self.objective if in_loop else self.fine_tuning
        return judge(prediction, features, target, rows)

    def after_backward(self, model: STGCN) -> None:
        if self.steps < self.plan.last_removal:
            self.scores.add(filter_scores(model))

    def after_step(self, model: STGCN, optimizer: torch.optim.Optimizer) -> STGCN | None:
        self.steps += 1
        removal, remainder = divmod(self.steps, self.plan.interval)
        if remainder or removal > len(self.plan.widths):
            return None
        means, self.scores = self.scores.means(), RunningScores()
        kept = best_filters(model.config.kept_channels, means, self.plan.widths[removal - 1])
        if kept == model.config.kept_channels:
            return None
        smaller = shrink(model, kept)
        shrink_optimizer(optimizer, model, smaller)
        self._note(smaller, None)
        return smaller

    def after_epoch(self, model: STGCN, metrics: dict[str, float]) -> None:
        self._note(model, metrics)
        self.epochs += 1

    def tensors(self) -> dict[str, Tensor]:
        return {str(layer): total for layer, total in enumerate(self.scores.sums)}

    def metadata(self, model: STGCN) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "epochs": self.epochs,
            "scored_steps": self.scores.steps,
            "kept": model.config.kept_channels,
            "trajectory": [asdict(step) for step in self.trajectory],
        }

    def resume(self, model: STGCN, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> STGCN:
        self.steps, self.epochs = metadata["steps"], metadata["epochs"]
        self.trajectory = [PruningStep(**step) for step in metadata["trajectory"]]
        sums = [tensors[str(layer)].to(model.graph_kernel.device) for layer in range(len(tensors))]
        self.scores = RunningScores(metadata["scored_steps"], sums)
        return shrink(model, tuple(tuple(layer) for layer in metadata["kept"]))

    def _note(self, model: STGCN, metrics: dict[str, float] | None) -> None:
        size = count_parameters(model), count_flops(model)
        self.trajectory.append(PruningStep(self.epochs + 1, self.steps, *size, metrics))


def best_filters(
    kept: Sequence[Kept], scores: Sequence[Tensor], widths: Sequence[int]
) -> tuple[Kept, ...]:
    """Return, layer by layer, the ``widths`` filters with the highest scores.

    Args:
        kept: the filters there are, by their original index.
        scores: one for each of them.
        widths: how many stay; a layer that has no more keeps what it has.
    """
    return tuple(
        tuple(layer[position] for position in sorted(_best(values, width)))
        for layer, values, width in zip(kept, scores, widths, strict=True)
    )


def _best(scores: Tensor, width: int) -> list[int]:
    order: list[int] = torch.argsort(scores, descending=True, stable=True).tolist()
    return order[:width]
