"""What the training loop asks of others, and what it tells them. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from core.shapes import Rows, WindowValues
from core.stgcn import STGCN, Features


@runtime_checkable
class ObjectiveValue(Protocol):
    """What an objective says of one batch."""

    @property
    def total(self) -> Tensor:
        """The scalar that is minimised."""

    @property
    def parts(self) -> dict[str, Tensor]:
        """Detached scalars worth reporting beside it."""

    def backward(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add gradients to ``parameters``."""


@runtime_checkable
class Objective(Protocol):
    """Judges the predictions of one batch of windows."""

    def __call__(
        self, prediction: WindowValues, features: Features, target: WindowValues, rows: Rows
    ) -> ObjectiveValue:
        """Judge one batch.

        Args:
            prediction: [B, N].
            features: hidden layers of the segments that these windows make up, in this order.
            target: [B, N].
            rows: first row of each window [B].
        """


@runtime_checkable
class Surgeon(Protocol):
    """Makes the network smaller while it is trained."""

    def after_backward(self, model: STGCN) -> None:
        """Look at the gradients of a step, before the optimiser takes it."""

    def after_step(self, model: STGCN, optimizer: torch.optim.Optimizer) -> STGCN | None:
        """Return the network to go on with, already known to ``optimizer``; None: the same."""

    def after_epoch(self, model: STGCN, metrics: dict[str, float]) -> None:
        """Take note of an epoch, before its checkpoint is written."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of its state, for a checkpoint."""

    def metadata(self, model: STGCN) -> dict[str, Any]:
        """Return the rest of its state and the shape of ``model``, as JSON values."""

    def resume(self, model: STGCN, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> STGCN:
        """Take up the state of a checkpoint; return ``model`` in the shape it had then."""


@dataclass(frozen=True)
class EpochReport:
    """What is known after an epoch."""

    epoch: int
    """From 1."""
    epochs: int
    metrics: dict[str, float]
    """``val_mae_15`` … ``val_rmse``, ``train_loss`` and the objective's parts as ``train_…``."""
    best_epoch: int
    seconds: float
    """Spent training and validating so far, over all resumptions."""

    @property
    def is_best(self) -> bool:
        """Whether this epoch has the lowest validation MAE so far."""
        return self.epoch == self.best_epoch
