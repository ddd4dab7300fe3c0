"""Compute SKD's terms on the last hidden layers of a student and a teacher.

As in ``correlation``, features are reduced to values that do not depend on the number of channels,
the teacher is a constant, and every time step of a segment is compared once. How the terms are
weighted is decided in ``losses``.

Axes: S segments (windows where W = 1), C channels, T time steps of a segment, N sensors.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from core.distillation.correlation.segment_weights import step_weights
from core.distillation.correlation.step_tables import StoredFeatures
from core.distillation.correlation.terms import (
    check_comparable,
    check_nodes,
    check_stored,
    distance_matrices,
    summed_over_steps,
    teachers_values,
)
from core.shapes import OtherSignal, Scalar, Signal

SMALLEST_MEAN_DISTANCE = 1e-6
"""Lower limit of the mean distance in a division: keeps the gradient of a dead layer finite."""


def structure_loss(
    student: Signal, teacher: OtherSignal | StoredFeatures, windows_per_segment: int = 1
) -> Scalar:
    """Return the distance-wise relational loss of Park et al. (CVPR 2019) over the nodes.

    At every time step, the Euclidean distances between nodes, divided by their mean over the
    pairs; smooth L1 between student and teacher, mean over windows, time steps and pairs.

    Args:
        student: [S, C, T, N].
        teacher: [S, C', T, N], or its stored table.
        windows_per_segment: W.

    Raises:
        ShapeError: the shapes do not fit together, or there is no pair of nodes.
    """
    check_comparable(student, teacher, windows_per_segment)
    pairs = check_nodes(student)
    check_stored(student, teacher, ())
    # A distance matrix holds each pair twice.
    weights = step_weights(student, windows_per_segment) / (2 * pairs)
    return summed_over_steps(_structure_errors, student, teacher, weights)


def mimicry_loss(
    student: Signal, teacher: OtherSignal | StoredFeatures, windows_per_segment: int = 1
) -> Scalar:
    """Return the mean squared difference of the channel means of two layers.

    Args:
        student: [S, C, T, N].
        teacher: [S, C', T, N], or its stored table.
        windows_per_segment: W.

    Raises:
        ShapeError: the shapes do not fit together.
    """
    check_comparable(student, teacher, windows_per_segment)
    check_stored(student, teacher, ())
    error = (
        (_channel_mean(student) - teachers_values(teacher, student, _channel_mean))
        .square()
        .mean(dim=2)
    )
    return (error @ step_weights(student, windows_per_segment).to(error)).sum()


def _structure_errors(student: Tensor, teacher: Any) -> Tensor:
    """Return the error of each of G steps, [G, C, 1, N] to [G]."""
    own = _relative_distances(student)
    wanted = teachers_values(teacher, student, _relative_distances)
    return F.smooth_l1_loss(own, wanted, reduction="none").sum(dim=(1, 2, 3))


def _channel_mean(signal: Tensor) -> Tensor:
    return signal.mean(dim=1)


def _relative_distances(signal: Tensor) -> Tensor:
    """Map [B, C, T, N] to Euclidean distances [B, T, N, N] whose mean over pairs is 1."""
    B, _, T, N = signal.shape
    distances = distance_matrices(signal, 2.0)
    mean = distances.sum(dim=(1, 2), keepdim=True) / (N * (N - 1))
    return (distances / mean.clamp_min(SMALLEST_MEAN_DISTANCE)).view(B, T, N, N)
