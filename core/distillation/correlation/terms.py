"""Compare how hidden features of a student and a teacher are correlated, in time and space.

Each term reduces features [S, C, T, N] to values that do not depend on the number of channels, so
a student and a teacher of different widths can be compared, and returns a mean over the entries.
The teacher is a constant here: no gradient flows to it. No tensor with both all pairs and channels
is ever stored. Which layers are compared, and with which weights, is decided in ``losses``.

Segments: of W consecutive windows every time step, and every pair of steps, is compared once and
counts as often as there are windows that hold it. The result equals, to rounding, the mean over
the windows one by one.

This is the reference, which runs anywhere and in any precision and holds the pairs of a few time
steps at once. ``backends`` chooses between it and the compiled implementations.

Axes: S segments (windows where W = 1), C channels, T time steps of a segment, N sensors, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from core.distillation.correlation.backends import check_samples, compiled_terms
from core.distillation.correlation.pair_samples import SampledPairs, sampled_scd
from core.distillation.correlation.reference import (
    steps_apart,
    summed_in_parts,
    teachers_steps_apart,
)
from core.distillation.correlation.segment_weights import lag_weights, pair_weights, step_weights
from core.distillation.correlation.step_tables import StoredDistances, StoredFeatures
from core.errors import ShapeError
from core.shapes import OtherSignal, Scalar, Signal


def scd_loss(
    student: Signal,
    teacher: OtherSignal | StoredDistances | StoredFeatures,
    backend: str | None = None,
    windows_per_segment: int = 1,
    pairs: SampledPairs | None = None,
) -> Scalar:
    """Return the spatial correlation distillation of one layer, Eq. 9-10.

    At every time step, the mean over channels of |F_i - F_j| for each pair of nodes i < j; the
    mean squared difference between student and teacher over windows, time steps and pairs.

    Args:
        student: [S, C, T, N].
        teacher: [S, C', T, N], or its stored table.
        backend: one of ``BACKENDS``, or None for the fastest that fits.
        windows_per_segment: W; the windows' layer has T - W + 1 time steps.
        pairs: a sample that estimates the mean over pairs; None takes all.

    Raises:
        ShapeError: the shapes do not fit together, or there is no pair of nodes.
        UnknownNameError: no such backend.
        ConfigError: the backend does not run on this tensor or machine.
    """
    check_comparable(student, teacher, windows_per_segment)
    all_pairs = check_nodes(student)
    check_stored(student, teacher, (all_pairs,))
    if pairs is not None:
        check_samples(backend)
        weights = step_weights(student, windows_per_segment)
        return sampled_scd(student, teacher, weights, pairs)
    weights = step_weights(student, windows_per_segment) / all_pairs
    compiled = compiled_terms(student, backend)
    if compiled is not None:
        fused: Scalar = compiled.scd(student, teacher, weights)
        return fused
    return summed_over_steps(_node_errors, student, teacher, weights)


def tcd_loss(
    student: Signal,
    teacher: OtherSignal | StoredDistances,
    backend: str | None = None,
    windows_per_segment: int = 1,
) -> Scalar:
    """Return the temporal correlation distillation of one layer, Eq. 7-8.

    For every node, the mean over channels of |F_i - F_j| for each pair of time steps i < j; the
    mean squared difference between student and teacher over windows, pairs and nodes.

    Args:
        student: [S, C, T, N].
        teacher: [S, C', T, N], or its stored table.
        backend: one of ``BACKENDS``, or None for the fastest that fits.
        windows_per_segment: W; the windows' layer has T - W + 1 time steps.

    Raises:
        ShapeError: the shapes do not fit together, or there is no pair of time steps.
        UnknownNameError: no such backend.
        ConfigError: the backend does not run on this tensor or machine.
    """
    check_comparable(student, teacher, windows_per_segment)
    T, N = student.shape[2:]
    lags = T - windows_per_segment
    if lags < 1:
        raise ShapeError(
            f"temporal correlation needs at least 2 time steps, got {lags + 1}; use `scd`"
        )
    check_stored(student, teacher, (lags, N))
    compiled = compiled_terms(student, backend)
    if compiled is not None:
        weights = pair_weights(student, windows_per_segment) / N
        fused: Scalar = compiled.tcd(student, teacher, weights)
        return fused
    counted = lag_weights(student, windows_per_segment).to(student) / N

    def errors(own: Tensor, taught: Any) -> Tensor:
        return _step_errors(own, taught, counted)

    wider = max(student.shape[1], teacher.shape[1] if isinstance(teacher, Tensor) else 1)
    largest = wider * T * N
    return summed_in_parts(errors, student, teacher, student.new_ones(len(student)), largest)


def summed_over_steps(
    term: Callable[[Tensor, Any], Tensor],
    student: Signal,
    teacher: OtherSignal | StoredDistances | StoredFeatures,
    weights: Float[Tensor, " T"],
) -> Scalar:
    """Return the sum over segments and steps of weight times ``term``, a few steps at a time.

    Args:
        term: maps the nodes of G steps [G, C, 1, N], and the teacher's, to one value each [G].
        student: [S, C, T, N].
        teacher: [S, C', T, N], or its stored table.
        weights: [T].
    """
    S, _, T, N = student.shape
    taught = teachers_steps_apart(teacher, T)
    return summed_in_parts(term, steps_apart(student), taught, weights.repeat(S), N * N)


def summed_over_layers(
    term: Callable[..., Tensor],
    student: Sequence[OtherSignal],
    teacher: Sequence[Any],
    windows_per_segment: int,
) -> Scalar:
    """Return the sum of ``term`` over the layers of one kind.

    Raises:
        ShapeError: one has more layers than the other.
    """
    if len(student) != len(teacher):
        raise ShapeError(
            "student and teacher must have as many hidden layers, got "
            f"{len(student)} and {len(teacher)}; give both as many blocks"
        )
    layers = zip(student, teacher, strict=True)
    return torch.stack(
        [term(own, taught, windows_per_segment=windows_per_segment) for own, taught in layers]
    ).sum()


def node_distances(signal: Signal) -> Float[Tensor, "B T P"]:
    """Map [B, C, T, N] to [B, T, N (N - 1) / 2]: the mean over channels of |F_i - F_j|, i < j."""
    B, C, T, N = signal.shape
    i, j = torch.triu_indices(N, N, offset=1, device=signal.device)
    square = distance_matrices(signal, 1.0).flatten(1)
    return square.index_select(1, i * N + j).view(B, T, -1) / C


def step_distances(signal: Signal, lags: int) -> Float[Tensor, "B T lags N"]:
    """Map [B, C, T, N] to [B, T, lags, N], at [b, t, d - 1]: mean over channels of |F_{t+d} - F_t|.

    Zero where t + d lies beyond the last step.
    """
    changes = [
        F.pad((signal[:, :, lag:] - signal[:, :, :-lag]).abs().mean(dim=1), (0, 0, 0, lag))
        for lag in range(1, lags + 1)
    ]
    return torch.stack(changes, dim=2)


def teachers_values(teacher: Any, student: Tensor, distances: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the teacher's ``distances`` at the student's steps, from any form of the teacher."""
    if isinstance(teacher, StoredDistances):
        return teacher.at(student.shape[2]).to(student.dtype)
    if isinstance(teacher, StoredFeatures):
        return distances(teacher.at(student.shape[2]).to(student.dtype))
    return distances(teacher.detach())


def _node_errors(student: Tensor, teacher: Any) -> Tensor:
    error = node_distances(student) - teachers_values(teacher, student, node_distances)
    return error.square().sum(dim=(1, 2))


def _step_errors(student: Tensor, teacher: Any, weights: Tensor) -> Tensor:
    """Return the weighted squared errors of each segment; ``weights`` are by step and lag."""

    def distances(signal: Tensor) -> Tensor:
        return step_distances(signal, weights.shape[1])

    error = distances(student) - teachers_values(teacher, student, distances)
    squared = error.square().sum(dim=3)
    # Not a product with zero weights: beyond the last step there is no distance.
    return torch.where(weights > 0, squared * weights, 0.0).sum(dim=(1, 2))


def distance_matrices(signal: Tensor, norm: float) -> Tensor:
    """Map [B, C, T, N] to [B T, N, N]: the norm over channels between every two nodes."""
    B, C, T, N = signal.shape
    nodes = signal.permute(0, 2, 3, 1).reshape(B * T, N, C)
    # The matrix-product form loses small distances to cancellation.
    return torch.cdist(nodes, nodes, p=norm, compute_mode="donot_use_mm_for_euclid_dist")


def check_comparable(student: Tensor, teacher: Any, windows: int) -> None:
    """Raise ``ShapeError`` for layers of different windows, and for impossible segments."""
    other = teacher if isinstance(teacher, Tensor) else student
    both = f"student {list(student.shape)} and teacher {list(other.shape)}"
    if student.ndim != 4 or other.ndim != 4:
        raise ShapeError(f"features must be [B, C, T, N], got {both}")
    if student.shape[0] != other.shape[0] or student.shape[2:] != other.shape[2:]:
        raise ShapeError(
            f"student and teacher must agree in windows, time steps and sensors, got {both} "
            "[B, C, T, N]; compare the same layer of the same windows"
        )
    if not 1 <= windows <= student.shape[2]:
        raise ShapeError(
            f"windows_per_segment must be 1 to {student.shape[2]}, the time steps of the layer, "
            f"got {windows}; give the number of windows that were computed together"
        )


def check_stored(student: Tensor, teacher: Any, distances: tuple[int, ...]) -> None:
    """Raise ``ShapeError`` for a table of another network; ``distances`` is one step's shape."""
    if isinstance(teacher, Tensor):
        return
    S, N = student.shape[0], student.shape[3]
    entry = tuple(teacher.table.entries.shape[1:])
    fits = entry[1:] == (N,) if isinstance(teacher, StoredFeatures) else entry == distances
    if len(teacher.rows) != S or not fits:
        raise ShapeError(
            f"what is stored of a teacher must fit the student {list(student.shape)} [B, C, T, N], "
            f"got {len(teacher.rows)} segments with {list(entry)} a step; use a teacher of the "
            "same sensors, history and temporal kernel"
        )


def check_nodes(signal: Tensor) -> int:
    """Return the number of pairs of nodes, or raise ``ShapeError`` where there is none."""
    N = signal.shape[3]
    if N < 2:
        raise ShapeError(
            f"correlation between sensors needs at least 2 of them, got {N}; use `ord` or `tcd`"
        )
    return N * (N - 1) // 2
