"""Define the interfaces between the training loop and the code around it.

An ``Objective`` computes the loss, a ``Surgeon`` shrinks the network during training, and an
``EpochReport`` describes an epoch to callbacks. Computes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from core.families.networks import SingleNetwork
from core.shapes import Rows, WindowValues
from core.stgcn import Features


@runtime_checkable
class ObjectiveValue(Protocol):
    """The loss of one batch, as an objective computes it."""

    @property
    def total(self) -> Tensor:
        """The scalar that is minimised."""

    @property
    def parts(self) -> dict[str, Tensor]:
        """Detached scalars to report beside it."""

    def backward(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add gradients to ``parameters``."""


@runtime_checkable
class Objective(Protocol):
    """Computes the loss of one batch of windows."""

    def __call__(
        self, prediction: WindowValues, features: Features, target: WindowValues, rows: Rows
    ) -> ObjectiveValue:
        """Compute the loss of one batch.

        Args:
            prediction: scaled [B, N], or [B, H, N] of a network that predicts H time steps.
            features: hidden layers of the segments that consist of these windows, in this order.
            target: scaled readings of the same shape, NaN where nothing was measured.
            rows: first row of each window [B].
        """


@runtime_checkable
class Surgeon(Protocol):
    """Shrinks the network during training."""

    def after_backward(self, model: SingleNetwork) -> None:
        """Read the gradients of a step, before the optimiser applies it."""

    def after_step(
        self, model: SingleNetwork, optimizer: torch.optim.Optimizer
    ) -> SingleNetwork | None:
        """Return the network to continue with, its weights in ``optimizer``; None: the same."""

    def after_epoch(self, model: SingleNetwork, metrics: dict[str, float]) -> None:
        """Record an epoch, before its checkpoint is written."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of its state, for a checkpoint."""

    def metadata(self, model: SingleNetwork) -> dict[str, Any]:
        """Return the rest of its state and the shape of ``model``, as JSON values."""

    def resume(
        self, model: SingleNetwork, tensors: dict[str, Tensor], metadata: dict[str, Any]
    ) -> SingleNetwork:
        """Restore the state of a checkpoint; return ``model`` in the shape it had then."""


@dataclass(frozen=True)
class EpochReport:
    """The state of a training after an epoch."""

    epoch: int
    """From 1."""
    epochs: int
    metrics: dict[str, float]
    """``val_mae_15`` … ``val_rmse``, ``train_loss`` and the objective's parts as ``train_…``."""
    best_epoch: int
    seconds: float
    """Time spent training and validating so far, over all resumptions."""

    @property
    def is_best(self) -> bool:
        """Whether this epoch has the lowest validation MAE so far."""
        return self.epoch == self.best_epoch
