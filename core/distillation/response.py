"""Compute the response losses: a student's predictions against the teacher's and the target.

All are z-scored [B, N], or [B, H, N]: then every equation holds for each step ahead as it does for
each window. The teacher is a constant: no gradient flows to it. A target is NaN where nothing was
measured: such an entry counts in no mean over targets, nor in ORD's ranking; the teacher's
prediction is defined there, so terms against the teacher count it. Compares no hidden features;
that is done in ``correlation`` and ``structure``.

Axes: B windows, H time steps ahead, N sensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from core.distillation.hyperparameters import check_share
from core.errors import ConfigError, ShapeError
from core.shapes import Scalar, WindowValues

ERRORS: Final[dict[str, Callable[..., Tensor]]] = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "huber": F.huber_loss,
}
"""How far a prediction is from what it should be, by name; each takes torch's ``reduction``, and
is a mean over all entries by default. ``huber``: half the square up to a difference of one standard
deviation of the readings, linear beyond."""


def response_error(prediction: WindowValues, target: WindowValues, error: str = "mse") -> Scalar:
    """Return the mean error of a prediction over the entries that were measured.

    Zero where none was.

    Args:
        prediction: [B, N] or [B, H, N].
        target: of the same shape, NaN where nothing was measured.
        error: a key of ``ERRORS``.

    Raises:
        ShapeError: the shapes differ.
    """
    check_window_values(prediction, target)
    return masked_error(prediction, target, ~target.isnan(), error)


def teacher_error(prediction: WindowValues, teacher: WindowValues, error: str = "mse") -> Scalar:
    """Return the mean error of a student's prediction from the teacher's, over all entries.

    Args:
        prediction: the student's, [B, N] or [B, H, N].
        teacher: of the same shape; NaN is a fault here, and reaches the result.
        error: a key of ``ERRORS``.

    Raises:
        ShapeError: the shapes differ.
    """
    check_window_values(prediction, teacher)
    return ERRORS[error](prediction, teacher.detach())


def masked_error(
    prediction: WindowValues,
    wanted: WindowValues,
    known: Bool[Tensor, "B *H N"],
    error: str = "mse",
) -> Scalar:
    """Return the mean error over the entries that are ``known``; zero where none is."""
    compared = torch.where(known, wanted, prediction.detach())
    return ERRORS[error](prediction, compared, reduction="sum") / known.sum().clamp_min(1)


def rd_l2_loss(
    student: WindowValues,
    teacher: WindowValues,
    target: WindowValues,
    beta: float,
    error: str = "mse",
) -> Scalar:
    """Return beta (y^s - y^t)^2 + (1 - beta) (y^s - T)^2, mean over the entries (Eq. 3).

    Both squares are another of ``ERRORS`` where one is asked for.

    Args:
        student: predictions [B, N] or [B, H, N].
        teacher: predictions of the same shape.
        target: of the same shape.
        beta: weight of the teacher, in [0, 1].
        error: a key of ``ERRORS``.

    Raises:
        ShapeError: the shapes differ.
        ConfigError: ``beta`` is outside [0, 1].
    """
    check_window_values(student, teacher, target)
    check_share("beta", beta)
    response = teacher_error(student, teacher, error)
    return beta * response + (1.0 - beta) * response_error(student, target, error)


def rd_kl_loss(
    student: WindowValues,
    teacher: WindowValues,
    target: WindowValues,
    beta: float,
    error: str = "mse",
) -> Scalar:
    """Return beta KL(y^t || y^s) + (1 - beta) (y^s - T)^2, each a mean (Eq. 1-2).

    The square is another of ``ERRORS`` where one is asked for.

    Args:
        student: predictions [B, N] or [B, H, N].
        teacher: predictions of the same shape.
        target: of the same shape.
        beta: weight of the teacher, in [0, 1].
        error: a key of ``ERRORS``.

    Raises:
        ShapeError: the shapes differ.
        ConfigError: ``beta`` is outside [0, 1].
    """
    check_window_values(student, teacher, target)
    check_share("beta", beta)
    task = response_error(student, target, error)
    return beta * response_kl_loss(student, teacher) + (1.0 - beta) * task


def response_kl_loss(student: WindowValues, teacher: WindowValues) -> Scalar:
    """Return KL(y^t || y^s) between softmax distributions over the nodes, mean over windows.

    Outputs are readings, not probabilities: the softmax turns each window, or each of its steps
    ahead, into a distribution.
    """
    check_window_values(student, teacher)
    own = student.flatten(0, -2).log_softmax(dim=1)
    wanted = teacher.detach().flatten(0, -2).log_softmax(dim=1)
    return F.kl_div(own, wanted, reduction="batchmean", log_target=True)


def ord_loss(
    student: WindowValues,
    teacher: WindowValues,
    target: WindowValues,
    alpha1: float,
    error: str = "mse",
) -> Scalar:
    """Return the overseen response distillation, Eq. 4-6: see ``overseen_target``.

    A mean over the entries that were measured: without a reading, nothing is overseen.

    Args:
        student: predictions [B, N] or [B, H, N].
        teacher: predictions of the same shape.
        target: of the same shape.
        alpha1: largest normalised error of the teacher at which the target is used, in [0, 1].
        error: how the student is compared with the mixture, a key of ``ERRORS``.

    Raises:
        ShapeError: the shapes differ.
        ConfigError: ``alpha1`` is outside [0, 1].
    """
    check_window_values(student, teacher, target)
    wanted, _ = overseen_target(teacher, target, alpha1)
    return masked_error(student, wanted, ~target.isnan(), error)


def overseen_target(
    teacher: WindowValues, target: WindowValues, alpha1: float
) -> tuple[WindowValues, Bool[Tensor, "B *H N"]]:
    """Mix target and teacher by how far they differ, Eq. 4-6.

    D = |y^t - T|, min-max normalised over the nodes of each window (and step ahead) that were
    measured, all zero where max = min. The target stands where D <= alpha1, the teacher's
    prediction elsewhere.

    Returns:
        The mixture, and a mask of the entries that are the teacher's prediction: among them all
        that were not measured, where the mixture is the teacher's too.
    """
    check_share("alpha1", alpha1)
    difference = (teacher.detach() - target).abs()
    missing = target.isnan()
    least = difference.masked_fill(missing, torch.inf).amin(dim=-1, keepdim=True)
    most = difference.masked_fill(missing, -torch.inf).amax(dim=-1, keepdim=True)
    span = most - least
    normalised = (difference - least) / torch.where(span == 0, 1.0, span)
    # Not ">": a prediction that is NaN must reach the loss instead of being replaced.
    from_teacher = ~(normalised <= alpha1)
    return torch.where(from_teacher, teacher.detach(), target), from_teacher


def check_error(error: str) -> None:
    """Raise ``ConfigError`` unless ``error`` is a key of ``ERRORS``."""
    if error not in ERRORS:
        raise ConfigError(f"error must be {' or '.join(ERRORS)}, got {error!r}")


def check_window_values(*values: Tensor) -> None:
    """Raise ``ShapeError`` unless all have one shape: others would broadcast silently."""
    shapes = [list(value.shape) for value in values]
    if values[0].ndim not in {2, 3} or any(shape != shapes[0] for shape in shapes):
        raise ShapeError(
            "predictions and target must be [B, N] or [B, H, N], of one shape, got "
            f"{', '.join(map(str, shapes))}; give the same time steps of the same windows"
        )
