"""Revise distillation gradients so that none of them conflicts with the task gradient.

A distillation gradient that points against the task gradient (negative dot product) is projected
onto the normal plane of the task gradient, so that following the teacher never undoes the task;
after Bian et al. (Structural Knowledge Distillation, TIP 2021). Vectors run over all parameters.
Computes no loss and takes no optimiser step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.distillation.interface import LossValue
from core.shapes import Scalar

GradientVector = Float[Tensor, " P"]
"""The gradient of all parameters, one after the other."""


@dataclass(frozen=True)
class RevisedLossValue(LossValue):
    """A loss whose distillation gradients are projected where they conflict with the task's."""

    task: Scalar = field(kw_only=True)
    """The loss of the task."""
    distilling: tuple[Scalar, ...] = field(kw_only=True)
    """The distillation losses; the gradient of each is revised separately."""
    alpha: float = field(kw_only=True)
    """Weight of the distillation gradients; the task's is 1 - alpha."""

    def backward(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add the revised gradient to the ``.grad`` of ``parameters``."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        gradient = revised_gradient(self.task, self.distilling, self.alpha, trained)
        pieces = torch.split(gradient, [parameter.numel() for parameter in trained])
        for parameter, piece in zip(trained, pieces, strict=True):
            own = piece.view_as(parameter)
            parameter.grad = own.clone() if parameter.grad is None else parameter.grad + own


def revised_gradient(
    task: Scalar, distilling: Sequence[Scalar], alpha: float, parameters: Sequence[nn.Parameter]
) -> GradientVector:
    """Return (1 - alpha) task gradient + alpha (sum of the distillation gradients, each revised).

    Args:
        task: the loss of the task.
        distilling: the distillation losses, of the same forward pass.
        alpha: weight of the distillation gradients, in [0, 1].
        parameters: differentiated with respect to; those a loss does not reach count as zero.
    """
    task_gradient = _flat_gradient(task, parameters)
    revised = (1.0 - alpha) * task_gradient
    for loss in distilling:
        gradient = _flat_gradient(loss, parameters)
        revised = revised + alpha * without_conflict(gradient, task_gradient)
    return revised


def without_conflict(distilling: GradientVector, task: GradientVector) -> GradientVector:
    """Return ``distilling`` without its component against ``task``; unchanged where they agree."""
    # No Python branch: reading the sign would synchronise with a GPU.
    conflict = (distilling @ task).clamp_max(0.0)
    squared_length = (task @ task).clamp_min(torch.finfo(task.dtype).tiny)
    return distilling - conflict / squared_length * task


def _flat_gradient(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    gradients = torch.autograd.grad(
        loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([gradient.reshape(-1) for gradient in gradients])
