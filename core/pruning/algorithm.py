"""Prune a trained network step by step while it is fine-tuned (Algorithm 1).

While a loss fine-tunes the network, the gradients of every training step score its filters; at
regular intervals the filters with the lowest scores are removed for good. At the end the student is
fine-tuned on the plain loss. Does not choose the loss or load the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from core.checkpoint import CheckpointFolder
from core.evaluation.profiling import count_flops, count_parameters
from core.families.networks import SingleNetwork
from core.preprocessing.prepare import PreparedData
from core.pruning.config import PruningConfig
from core.pruning.importance import RunningScores, filter_scores
from core.pruning.plan import PruningPlan, plan_pruning
from core.pruning.shrinking import shrink, shrink_optimizer
from core.shapes import Rows, WindowValues
from core.stgcn import Features
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
    """FLOPs of one forward pass over one window."""
    metrics: dict[str, float] | None = None
    """Metrics at the end of an epoch; None after a removal."""


@dataclass(frozen=True)
class PrunedNetwork:
    """The student with the weights of its best epoch since the last removal."""

    model: SingleNetwork
    """Its masks M, by index in the unpruned network, are ``model.config.kept``."""
    metrics: dict[str, float]
    """Metrics of that epoch."""
    best_epoch: int
    epochs: int
    """Epochs of the loop and of the fine-tuning."""
    seconds: float
    trajectory: list[PruningStep]


def prune(
    base: SingleNetwork,
    data: PreparedData,
    objective: Objective,
    fine_tuning: Objective,
    config: PruningConfig,
    checkpoints: CheckpointFolder | None,
    on_epoch: Callable[[EpochReport], None],
) -> PrunedNetwork:
    """Run Algorithm 1.

    Args:
        base: the trained network, on the device of ``data``; not changed.
        data: what it was trained on.
        objective: the loss in the loop, which fine-tunes and scores.
        fine_tuning: the loss after the loop.
        config: the settings; its method and weights are not read here but by the caller.
        checkpoints: of this run, to resume from; None: keep none.
        on_epoch: called after every epoch; the count continues through the fine-tuning.

    Raises:
        ConfigError: the settings cannot be met (``plan_pruning``).
        TrainingDivergedError: the loss or the validation error is not finite.
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
    """Algorithm 1 in the interfaces of the training loop: an objective and a ``Surgeon``."""

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

    def after_backward(self, model: SingleNetwork) -> None:
        if self.steps < self.plan.last_removal:
            self.scores.add(filter_scores(model))

    def after_step(
        self, model: SingleNetwork, optimizer: torch.optim.Optimizer
    ) -> SingleNetwork | None:
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

    def after_epoch(self, model: SingleNetwork, metrics: dict[str, float]) -> None:
        self._note(model, metrics)
        self.epochs += 1

    def tensors(self) -> dict[str, Tensor]:
        return {str(layer): total for layer, total in enumerate(self.scores.sums)}

    def metadata(self, model: SingleNetwork) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "epochs": self.epochs,
            "scored_steps": self.scores.steps,
            "kept": model.config.kept_channels,
            "trajectory": [asdict(step) for step in self.trajectory],
        }

    def resume(
        self, model: SingleNetwork, tensors: dict[str, Tensor], metadata: dict[str, Any]
    ) -> SingleNetwork:
        self.steps, self.epochs = metadata["steps"], metadata["epochs"]
        self.trajectory = [PruningStep(**step) for step in metadata["trajectory"]]
        sums = [tensors[str(layer)].to(model.graph_kernel.device) for layer in range(len(tensors))]
        self.scores = RunningScores(metadata["scored_steps"], sums)
        return shrink(model, tuple(tuple(layer) for layer in metadata["kept"]))

    def _note(self, model: SingleNetwork, metrics: dict[str, float] | None) -> None:
        size = count_parameters(model), count_flops(model)
        self.trajectory.append(PruningStep(self.epochs + 1, self.steps, *size, metrics))


def best_filters(
    kept: Sequence[Kept], scores: Sequence[Tensor], widths: Sequence[int]
) -> tuple[Kept, ...]:
    """Return, layer by layer, the ``widths`` filters with the highest scores.

    Args:
        kept: the existing filters, by their index in the unpruned network.
        scores: one for each of them.
        widths: how many to keep; a layer with fewer keeps all.
    """
    return tuple(
        tuple(layer[position] for position in sorted(_best(values, width)))
        for layer, values, width in zip(kept, scores, widths, strict=True)
    )


def _best(scores: Tensor, width: int) -> list[int]:
    order: list[int] = torch.argsort(scores, descending=True, stable=True).tolist()
    return order[:width]
