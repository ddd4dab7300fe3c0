"""Sum a term over a batch part by part, so that autograd holds one part at a time.

The gradient of a part is computed before the next part begins, so memory does not grow with the
batch. The gradient is therefore a constant, and differentiating twice is refused. The terms
themselves are defined in ``terms`` and ``structure``.

Axes: G groups (time steps by themselves, or segments), C channels, T time steps, N sensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

from core.distillation.correlation.step_tables import StoredDistances, StoredFeatures
from core.errors import ConfigError
from core.shapes import Scalar, Signal

NUMBERS_AT_ONCE: Final = 2**23
"""Size of a term's largest tensor, of which several exist at a time: 32 MB each in float32."""

Teacher = Tensor | StoredDistances | StoredFeatures
Term = Callable[[Tensor, Any], Tensor]
"""Maps a part of the student [g, C, T, N] and of the teacher to one value per group [g]."""


def summed_in_parts(
    term: Term,
    student: Signal,
    teacher: Teacher,
    weights: Float[Tensor, " B"],
    numbers: int,
) -> Scalar:
    """Return the sum over groups of weight times term.

    Args:
        term: see ``Term``.
        student: [G, C, T, N].
        teacher: the same groups of the teacher.
        weights: [G].
        numbers: entries of the term's largest tensor per group.
    """
    size = max(1, NUMBERS_AT_ONCE // numbers)
    learns = student.requires_grad and torch.is_grad_enabled()
    gradient = torch.empty_like(student, requires_grad=False)
    values = []
    for first in range(0, len(student), size):
        part = slice(first, first + size)
        own = student.detach()[part].requires_grad_(learns)
        value = term(own, _part_of(teacher, part)) @ weights[part].to(student.dtype)
        if learns:
            (gradient[part],) = torch.autograd.grad(value, own)
        values.append(value.detach())
    total = torch.stack(values).sum()
    return with_gradient(student, total, gradient) if learns else total


def steps_apart(signal: Tensor) -> Tensor:
    """Map [S, C, T, N] to [S T, C, 1, N]: each step as a segment of its own."""
    return signal.transpose(1, 2).flatten(0, 1).unsqueeze(2)


def teachers_steps_apart(teacher: Teacher, steps: int) -> Teacher:
    """Do as ``steps_apart`` with the teacher's ``steps`` time steps per segment."""
    if isinstance(teacher, Tensor):
        return steps_apart(teacher.detach())
    rows = teacher.rows[:, None] + torch.arange(steps, device=teacher.rows.device)
    return type(teacher)(teacher.table, rows.flatten())


def with_gradient(student: Signal, value: Scalar, gradient: Signal) -> Scalar:
    """Return ``value`` as a function of ``student`` that has this ``gradient``.

    Raises:
        ConfigError: in the backward pass, if it is differentiated twice.
    """
    known: Tensor = _KnownGradient.apply(student, value, gradient)  # type: ignore[no-untyped-call]
    return known


class _KnownGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():  # the constant gradient has no derivative
            raise ConfigError(
                "correlation terms have no second derivative, got create_graph=True; "
                "differentiate once"
            )
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None


def _part_of(teacher: Teacher, part: slice) -> Teacher:
    if isinstance(teacher, Tensor):
        return teacher.detach()[part]
    return type(teacher)(teacher.table, teacher.rows[part])
