"""Compute the correlation terms on CUDA, compiled by Triton, without storing pairs.

The same two terms as in ``terms``. One pass gives the loss and its gradient with respect to the
student; a teacher's stored rows are looked up inside the kernels. Nothing of size N x N or
T x T x N is written. The gradient is a constant: differentiating twice is refused.
So far the kernels have run in Triton's interpreter (``TRITON_INTERPRET=1``, on the CPU) and been
compiled for GPUs, not yet timed on one. ``backends`` decides where they are used.

Every program owns the gradient of a block of nodes at one time step and visits all nodes that
these are compared with, so each pair is computed twice and weighted half. In return no two programs
write to the same address: there are no atomic sums, and results repeat bit for bit.

Axes: S segments, R rows of the teacher's table, C channels, T time steps, N sensors.
Arrays have the memory order of signals inside the network, [S, T, C, N]: the nodes of a step are
contiguous.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import torch
import triton
from torch import Tensor
from triton import language as tl

from core.distillation.correlation.reference import with_gradient
from core.distillation.correlation.step_tables import (
    StoredDistances,
    StoredFeatures,
    columns_of,
    teacher_arrays,
)

NUMBERS_IN_REGISTERS: Final = 8192
"""Size of a program's largest tile: 64 numbers for each of its 128 threads."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compile at the first call, for the types of that call."""
    # The shape checks of the tests wrap every function, and a wrapper cannot be compiled.
    return triton.jit(inspect.unwrap(function))


def scd(
    student: Tensor, teacher: Tensor | StoredDistances | StoredFeatures, weights: Tensor
) -> Tensor:
    """Return what ``terms.scd_loss`` does; ``weights`` [T] weigh one pair of each step."""
    _, C, _, N = student.shape
    channels = triton.next_power_of_2(C)
    nodes = triton.next_power_of_2(N)
    rows = min(nodes, 32, _power_of_2_below((NUMBERS_IN_REGISTERS // channels) ** 0.5))
    others = min(nodes, 64, max(1, NUMBERS_IN_REGISTERS // (channels * rows)))
    return _launched(_scd_of_block, student, teacher, weights, (rows, others))


def tcd(student: Tensor, teacher: Tensor | StoredDistances, weights: Tensor) -> Tensor:
    """Return what ``terms.tcd_loss`` does; ``weights`` [T, T] weigh one pair of steps."""
    _, C, _, N = student.shape
    room = max(1, NUMBERS_IN_REGISTERS // 4 // triton.next_power_of_2(C))
    nodes = min(128, triton.next_power_of_2(N), room)
    return _launched(_tcd_of_block, student, teacher, weights, (nodes,))


def _launched(
    term: Any,
    student: Tensor,
    teacher: Tensor | StoredDistances | StoredFeatures,
    weights: Tensor,
    blocks: tuple[int, ...],
) -> Tensor:
    """Run one program per time step and block of nodes, ``blocks[0]`` of them."""
    S, C, T, N = student.shape
    own, known = columns_of(student), teacher_arrays(teacher)
    gradient = torch.empty_like(own)
    sums = own.new_empty(S * T, triton.cdiv(N, blocks[0]))
    sizes = (T, C, N, known.entries.shape[1])
    stored = isinstance(teacher, StoredDistances)
    with torch.cuda.device_of(student):  # type: ignore[no-untyped-call]
        term[sums.shape](
            own,
            *known,
            weights.float(),
            gradient,
            sums,
            *sizes,
            stored,
            triton.next_power_of_2(C),
            *blocks,
        )
    total = sums.sum(dtype=torch.float64).float()
    return with_gradient(student, total, gradient.transpose(1, 2))


@kernel
def _scd_of_block(  # noqa: PLR0913, PLR0917 - a kernel takes pointers and sizes one by one
    student: tl.tensor,
    entries: tl.tensor,
    scale: tl.tensor,
    rows: tl.tensor,
    weights: tl.tensor,
    gradient: tl.tensor,
    sums: tl.tensor,
    T: int,
    C: int,
    N: int,
    width: int,
    STORED: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    OTHERS: tl.constexpr,
) -> None:
    step, block = tl.program_id(0), tl.program_id(1)
    row = tl.load(rows + step // T) + step % T
    columns = student + step.to(tl.int64) * C * N
    i = block * ROWS + tl.arange(0, ROWS)
    own = _channels_of(columns, i, C, N, CHANNELS)
    slopes = tl.zeros([CHANNELS, ROWS], tl.float32)
    squared = tl.zeros([ROWS], tl.float32)
    for first in range(0, N, OTHERS):
        j = first + tl.arange(0, OTHERS)
        pairs = (i[:, None] != j[None, :]) & (i < N)[:, None] & (j < N)[None, :]
        if STORED:
            wanted = _stored_pairs(entries + row * (N * (N - 1) // 2), i, j, pairs, N)
        else:
            wanted = _pairs_of_features(entries + row * width * N, i, j, width, N)
        change = own[:, :, None] - _channels_of(columns, j, C, N, CHANNELS)[:, None, :]
        error = tl.sum(tl.abs(change), axis=0) / C - wanted * tl.load(scale + row)
        error = tl.where(pairs, error, 0.0)
        squared += tl.sum(error * error, axis=1)
        slopes += tl.sum(error[None, :, :] * _sign(change), axis=2)
    weight = tl.load(weights + step % T)
    _store_channels(gradient + step.to(tl.int64) * C * N, i, slopes * (2.0 * weight / C), C, N)
    tl.store(sums + step * tl.num_programs(1) + block, tl.sum(squared) * weight / 2)


@kernel
def _tcd_of_block(  # noqa: PLR0913, PLR0917 - a kernel takes pointers and sizes one by one
    student: tl.tensor,
    entries: tl.tensor,
    scale: tl.tensor,
    rows: tl.tensor,
    weights: tl.tensor,
    gradient: tl.tensor,
    sums: tl.tensor,
    T: int,
    C: int,
    N: int,
    width: int,
    STORED: tl.constexpr,
    CHANNELS: tl.constexpr,
    NODES: tl.constexpr,
) -> None:
    step, block = tl.program_id(0), tl.program_id(1)
    segment, t = (step // T).to(tl.int64), step % T
    columns = student + segment * T * C * N
    n = block * NODES + tl.arange(0, NODES)
    own = _channels_of(columns + t * C * N, n, C, N, CHANNELS)
    slopes = tl.zeros([CHANNELS, NODES], tl.float32)
    squared = tl.zeros([NODES], tl.float32)
    for other in range(T):
        early, late = tl.minimum(t, other), tl.maximum(t, other)
        weight = tl.load(weights + early * T + late)
        row = tl.load(rows + segment) + early
        if weight > 0:
            if STORED:
                lag = entries + (row * width + late - early - 1) * N
                wanted = tl.load(lag + n, mask=n < N, other=0).to(tl.float32)
            else:
                wanted = _steps_of_features(entries, row, row + late - early, n, width, N)
            change = own - _channels_of(columns + other * C * N, n, C, N, CHANNELS)
            error = tl.sum(tl.abs(change), axis=0) / C - wanted * tl.load(scale + row)
            squared += weight * error * error
            slopes += (weight * error)[None, :] * _sign(change)
    _store_channels(gradient + step.to(tl.int64) * C * N, n, slopes * (2.0 / C), C, N)
    tl.store(sums + step * tl.num_programs(1) + block, tl.sum(squared) / 2)


@kernel
def _channels_of(
    columns: tl.tensor, nodes: tl.tensor, C: int, N: int, CHANNELS: tl.constexpr
) -> tl.tensor:
    """Load [CHANNELS, nodes] of one step, zero beyond the last channel and node."""
    c = tl.arange(0, CHANNELS)[:, None]
    there = (c < C) & (nodes < N)[None, :]
    return tl.load(columns + c * N + nodes[None, :], mask=there, other=0.0)


@kernel
def _store_channels(
    columns: tl.tensor, nodes: tl.tensor, values: tl.tensor, C: int, N: int
) -> None:
    c = tl.arange(0, values.shape[0])[:, None]
    there = (c < C) & (nodes < N)[None, :]
    tl.store(columns + c * N + nodes[None, :], values, mask=there)


@kernel
def _stored_pairs(
    distances: tl.tensor, i: tl.tensor, j: tl.tensor, pairs: tl.tensor, N: int
) -> tl.tensor:
    """Look up the distances of one step, in the order of ``torch.triu_indices``."""
    early = tl.minimum(i[:, None], j[None, :])
    late = tl.maximum(i[:, None], j[None, :])
    at = early * N - early * (early + 1) // 2 + late - early - 1
    return tl.load(distances + at, mask=pairs, other=0).to(tl.float32)


@kernel
def _pairs_of_features(
    features: tl.tensor, i: tl.tensor, j: tl.tensor, C: int, N: int
) -> tl.tensor:
    """Return the mean over channels of |F_i - F_j| in one step of the teacher."""
    total = tl.zeros([i.shape[0], j.shape[0]], tl.float32)
    for c in range(C):
        at_i = tl.load(features + c * N + i, mask=i < N, other=0).to(tl.float32)
        at_j = tl.load(features + c * N + j, mask=j < N, other=0).to(tl.float32)
        total += tl.abs(at_i[:, None] - at_j[None, :])
    return total / C


@kernel
def _steps_of_features(
    features: tl.tensor, early_row: tl.tensor, late_row: tl.tensor, n: tl.tensor, C: int, N: int
) -> tl.tensor:
    """Return the mean over channels of |F_late - F_early| between two rows of the teacher."""
    total = tl.zeros([n.shape[0]], tl.float32)
    for c in range(C):
        early = tl.load(features + (early_row * C + c) * N + n, mask=n < N, other=0)
        late = tl.load(features + (late_row * C + c) * N + n, mask=n < N, other=0)
        total += tl.abs(late.to(tl.float32) - early.to(tl.float32))
    return total / C


@kernel
def _sign(change: tl.tensor) -> tl.tensor:
    """Return -1, 0 at a tie, or 1."""
    return tl.where(change > 0, 1.0, tl.where(change < 0, -1.0, 0.0))


def _power_of_2_below(number: float) -> int:
    return 1 << max(0, int(number).bit_length() - 1)
