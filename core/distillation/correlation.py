"""Hidden features of a student and a teacher in, how differently they are correlated out.

Each term reduces features [B, C, T, N] to values that do not depend on the number of channels, so
a student and a teacher of different widths can be compared, and returns a mean over the entries.
The teacher is a constant here: no gradient flows to it. No tensor with both pairs and channels
is ever stored. Which layers are compared, and with which weights, is decided in ``losses``.

The spatial and temporal terms have two implementations, called backends: ``torch``, the reference,
runs anywhere and in any precision; ``numba`` is compiled, many times faster and sparing of memory,
for float32 on the CPU. Left to themselves they take the faster one that fits.

Axes: B windows, C channels, T time steps, N sensors.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from core.errors import ConfigError, ShapeError, UnknownNameError
from core.shapes import OtherSignal, Scalar, Signal

logger = logging.getLogger(__name__)

BACKENDS: Final = ("torch", "numba")

SMALLEST_MEAN_DISTANCE = 1e-6
"""Nodes closer than this on average count as equal: keeps the gradient of a dead layer finite."""


def scd_loss(student: Signal, teacher: OtherSignal, backend: str | None = None) -> Scalar:
    """Return the spatial correlation distillation of one layer, Eq. 9-10.

    At every time step, the mean over channels of |F_i - F_j| for each pair of nodes i < j; the
    mean squared difference between student and teacher over windows, time steps and pairs.

    Args:
        student: [B, C, T, N].
        teacher: [B, C', T, N].
        backend: one of ``BACKENDS``, or None for the fastest that fits.

    Raises:
        ShapeError: the shapes do not fit together, or there is no pair of nodes.
        UnknownNameError: no such backend.
        ConfigError: the backend cannot do this here.
    """
    _check_comparable(student, teacher)
    _check_nodes(student)
    compiled = _compiled_terms(student, backend)
    if compiled is not None:
        fused: Scalar = compiled.scd(student, teacher)
        return fused
    own = _node_distances(student, 1.0) / student.shape[1]
    wanted = _node_distances(teacher.detach(), 1.0) / teacher.shape[1]
    return F.mse_loss(own, wanted, reduction="sum") / _ordered_pairs(student)


def tcd_loss(student: Signal, teacher: OtherSignal, backend: str | None = None) -> Scalar:
    """Return the temporal correlation distillation of one layer, Eq. 7-8.

    For every node, the mean over channels of |F_i - F_j| for each pair of time steps i < j; the
    mean squared difference between student and teacher over windows, pairs and nodes.

    Args:
        student: [B, C, T, N].
        teacher: [B, C', T, N].
        backend: one of ``BACKENDS``, or None for the fastest that fits.

    Raises:
        ShapeError: the shapes do not fit together, or there is no pair of time steps.
        UnknownNameError: no such backend.
        ConfigError: the backend cannot do this here.
    """
    _check_comparable(student, teacher)
    B, _, T, N = student.shape
    if T < 2:
        raise ShapeError(f"temporal correlation needs at least 2 time steps, got {T}; use `scd`")
    compiled = _compiled_terms(student, backend)
    if compiled is not None:
        fused: Scalar = compiled.tcd(student, teacher)
        return fused
    per_lag = [
        F.mse_loss(_changes(student, lag), _changes(teacher.detach(), lag), reduction="sum")
        for lag in range(1, T)
    ]
    return torch.stack(per_lag).sum() / (B * N * (T * (T - 1) // 2))


def structure_loss(student: Signal, teacher: OtherSignal) -> Scalar:
    """Return the distance-wise relational loss of Park et al. (CVPR 2019) over the nodes.

    At every time step, the Euclidean distances between nodes, divided by their mean over the
    pairs; smooth L1 between student and teacher, mean over windows, time steps and pairs.

    Args:
        student: [B, C, T, N].
        teacher: [B, C', T, N].

    Raises:
        ShapeError: the shapes do not fit together, or there is no pair of nodes.
    """
    _check_comparable(student, teacher)
    _check_nodes(student)
    own, wanted = _relative_distances(student), _relative_distances(teacher.detach())
    return F.smooth_l1_loss(own, wanted, reduction="sum") / _ordered_pairs(student)


def mimicry_loss(student: Signal, teacher: OtherSignal) -> Scalar:
    """Return the mean squared difference of the channel means of two layers.

    Args:
        student: [B, C, T, N].
        teacher: [B, C', T, N].

    Raises:
        ShapeError: the shapes do not fit together.
    """
    _check_comparable(student, teacher)
    return F.mse_loss(student.mean(dim=1), teacher.detach().mean(dim=1))


def summed_over_layers(
    term: Callable[[Tensor, Tensor], Tensor],
    student: Sequence[OtherSignal],
    teacher: Sequence[OtherSignal],
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
    return torch.stack([term(*pair) for pair in zip(student, teacher, strict=True)]).sum()


def _compiled_terms(student: Tensor, backend: str | None) -> ModuleType | None:
    """Return the compiled terms where ``backend`` and the student's tensor call for them."""
    if backend is not None and backend not in BACKENDS:
        raise UnknownNameError("backend", backend, BACKENDS)
    fits = student.device.type == "cpu" and student.dtype == torch.float32
    if backend == "torch" or (backend is None and not fits):
        return None
    if not fits:
        raise ConfigError(
            "backend numba needs float32 on the cpu, got "
            f"{student.dtype} on {student.device}; use backend torch"
        )
    compiled = _import_compiled_terms()
    if compiled is None and backend == "numba":
        raise ConfigError("backend numba needs the package numba, found none; pip install numba")
    return compiled


@functools.cache
def _import_compiled_terms() -> ModuleType | None:
    """Import them when first asked for, as numba takes its time; None where it is missing."""
    try:
        return importlib.import_module("core.distillation.correlation_numba")
    except ImportError:
        logger.warning("correlation terms run many times faster with numba: pip install numba")
        return None


def _node_distances(signal: Tensor, norm: float) -> Tensor:
    """Map [B, C, T, N] to [B T, N, N]: the norm over channels between every two nodes."""
    B, C, T, N = signal.shape
    nodes = signal.permute(0, 2, 3, 1).reshape(B * T, N, C)
    # The matrix-product shortcut loses small distances to cancellation.
    return torch.cdist(nodes, nodes, p=norm, compute_mode="donot_use_mm_for_euclid_dist")


def _relative_distances(signal: Tensor) -> Tensor:
    """Map [B, C, T, N] to Euclidean distances [B T, N, N] whose mean over pairs is 1."""
    N = signal.shape[3]
    distances = _node_distances(signal, 2.0)
    mean = distances.sum(dim=(1, 2), keepdim=True) / (N * (N - 1))
    return distances / mean.clamp_min(SMALLEST_MEAN_DISTANCE)


def _changes(signal: Tensor, lag: int) -> Tensor:
    """Map [B, C, T, N] to [B, T - lag, N]: mean over channels of |F_{t + lag} - F_t|."""
    return (signal[:, :, lag:] - signal[:, :, :-lag]).abs().mean(dim=1)


def _ordered_pairs(signal: Tensor) -> int:
    """Count the entries of distance matrices off their diagonal.

    A distance matrix holds each pair i < j twice and zeros on its diagonal, so its sum divided by
    this count is the mean over pairs.
    """
    B, _, T, N = signal.shape
    return B * T * N * (N - 1)


def _check_comparable(student: Tensor, teacher: Tensor) -> None:
    both = f"student {list(student.shape)} and teacher {list(teacher.shape)}"
    if student.ndim != 4 or teacher.ndim != 4:
        raise ShapeError(f"features must be [B, C, T, N], got {both}")
    if student.shape[0] != teacher.shape[0] or student.shape[2:] != teacher.shape[2:]:
        raise ShapeError(
            f"student and teacher must agree in windows, time steps and sensors, got {both} "
            "[B, C, T, N]; compare the same layer of the same windows"
        )


def _check_nodes(signal: Tensor) -> None:
    if signal.shape[3] < 2:
        raise ShapeError(
            f"correlation between sensors needs at least 2 of them, got {signal.shape[3]}; "
            "use `ord` or `tcd`"
        )
