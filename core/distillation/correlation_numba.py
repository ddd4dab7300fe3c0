"""The correlation terms for the CPU, compiled: each pair is visited once and forgotten.

The same two terms as in ``correlation``, in the same shapes. One pass gives the loss and its
gradient with respect to the student, so no matrix of pairs is ever stored. The gradient has no
derivative of its own: differentiating twice is refused. It uses as many threads as torch does.
Needs numba; whether it is there, and which implementation is used, ``correlation`` decides.

Axes: B windows, C and W channels of student and teacher, T time steps, N sensors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import ConfigError

Array = NDArray[Any]
Kernel = Callable[[Array, Array, Array, Array, int, int], None]
"""(student, teacher, gradient, sums, start, stop): work through tasks ``start`` to ``stop - 1``.

Adds to ``gradient`` and writes the sum of each task to ``sums``. Tasks share no output, so ranges
may run side by side, and the result does not depend on how many threads there are.
"""

Function = TypeVar("Function", bound=Callable[..., Any])

# Sums may be reordered; NaN and infinity stay what they are, for they must show in the loss.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}


def _compiled(function: Function) -> Function:
    """Compile at the first call, for the types of that call; kept on disk where that is allowed."""
    # The shape checks of the tests wrap every function, and a wrapper cannot be compiled.
    plain = inspect.unwrap(function)
    try:
        return cast(Function, numba.njit(nogil=True, cache=True, fastmath=FASTMATH)(plain))
    except RuntimeError:  # no folder to keep it in
        return cast(Function, numba.njit(nogil=True, fastmath=FASTMATH)(plain))


def scd(student: Tensor, teacher: Tensor) -> Tensor:
    """Return what ``correlation.scd_loss`` does, from features that fit together."""
    B, _, T, N = student.shape
    term: Tensor = _CompiledTerm.apply(  # type: ignore[no-untyped-call]
        student, teacher, _scd_kernel, B * T, B * T * (N * (N - 1) // 2)
    )
    return term


def tcd(student: Tensor, teacher: Tensor) -> Tensor:
    """Return what ``correlation.tcd_loss`` does, from features that fit together."""
    B, _, T, N = student.shape
    term: Tensor = _CompiledTerm.apply(  # type: ignore[no-untyped-call]
        student, teacher, _tcd_kernel, B, B * N * (T * (T - 1) // 2)
    )
    return term


class _CompiledTerm(torch.autograd.Function):
    """A term whose gradient is found together with its value."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, kernel: Kernel, tasks: int, entries: int
    ) -> Tensor:
        """Return the mean over ``entries`` of what ``kernel`` sums in ``tasks``."""
        own = student.detach().contiguous()
        wanted = teacher.detach().to(own.dtype).contiguous()
        gradient, sums = torch.zeros_like(own), np.empty(tasks)
        arrays = (own.numpy(), wanted.numpy(), gradient.numpy(), sums)
        _in_threads(kernel, arrays, tasks)
        ctx.save_for_backward(gradient.mul_(2.0 / (entries * own.shape[1])))
        return own.new_tensor(sums.sum() / entries)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradient that ``forward`` found."""
        if torch.is_grad_enabled():  # the gradient is a constant here: a silent wrong answer
            raise ConfigError(
                "compiled correlation terms have no second derivative, got create_graph=True; "
                "differentiate once"
            )
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None, None, None


def _in_threads(kernel: Kernel, arrays: tuple[Array, Array, Array, Array], tasks: int) -> None:
    """Split ``tasks`` evenly over torch's number of threads."""
    threads = min(torch.get_num_threads(), tasks)
    if threads == 1:
        kernel(*arrays, 0, tasks)
        return
    bounds = [tasks * part // threads for part in range(threads + 1)]
    # Our own threads: numba's survive no fork and, with some layers, no second caller.
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda start, stop: kernel(*arrays, start, stop), bounds[:-1], bounds[1:]))


@_compiled
def _scd_kernel(
    student: Array, teacher: Array, gradient: Array, sums: Array, start: int, stop: int
) -> None:
    """One task is one time step of one window: node i against all nodes j > i, for each i."""
    _, _, T, N = student.shape
    own_row, wanted_row = np.empty(N, student.dtype), np.empty(N, student.dtype)
    for task in range(start, stop):
        b, t = task // T, task % T
        total = 0.0
        for i in range(N - 1):
            error, wanted = own_row[i + 1 :], wanted_row[i + 1 :]
            _node_distances(student, b, t, i, error)
            _node_distances(teacher, b, t, i, wanted)
            total += _subtract(error, wanted)
            _node_gradient(student, gradient, b, t, i, error)
        sums[task] = total


@_compiled
def _tcd_kernel(
    student: Array, teacher: Array, gradient: Array, sums: Array, start: int, stop: int
) -> None:
    """One task is one window: time step i against j, for all nodes at once."""
    _, _, T, N = student.shape
    error, wanted = np.empty(N, student.dtype), np.empty(N, student.dtype)
    for b in range(start, stop):
        total = 0.0
        for i in range(T - 1):
            for j in range(i + 1, T):
                _step_distances(student, b, i, j, error)
                _step_distances(teacher, b, i, j, wanted)
                total += _subtract(error, wanted)
                _step_gradient(student, gradient, b, i, j, error)
        sums[b] = total


@_compiled
def _node_distances(signal: Array, b: int, t: int, i: int, distances: Array) -> None:
    """Fill in the mean over channels of |F_j - F_i| for the nodes j > i."""
    C = signal.shape[1]
    distances[:] = 0
    for c in range(0, C - 3, 4):  # four channels a round: fewer trips to memory
        row0, at0 = signal[b, c, t, i + 1 :], signal[b, c, t, i]
        row1, at1 = signal[b, c + 1, t, i + 1 :], signal[b, c + 1, t, i]
        row2, at2 = signal[b, c + 2, t, i + 1 :], signal[b, c + 2, t, i]
        row3, at3 = signal[b, c + 3, t, i + 1 :], signal[b, c + 3, t, i]
        for n in range(len(distances)):
            two = abs(row0[n] - at0) + abs(row1[n] - at1)
            distances[n] += two + abs(row2[n] - at2) + abs(row3[n] - at3)
    for c in range(C - C % 4, C):
        row, at = signal[b, c, t, i + 1 :], signal[b, c, t, i]
        for n in range(len(distances)):
            distances[n] += abs(row[n] - at)
    _scale(distances, C)


@_compiled
def _step_distances(signal: Array, b: int, i: int, j: int, distances: Array) -> None:
    """Fill in the mean over channels of |F_j - F_i| for every node."""
    C = signal.shape[1]
    distances[:] = 0
    for c in range(0, C - 1, 2):
        early0, late0 = signal[b, c, i], signal[b, c, j]
        early1, late1 = signal[b, c + 1, i], signal[b, c + 1, j]
        for n in range(len(distances)):
            distances[n] += abs(late0[n] - early0[n]) + abs(late1[n] - early1[n])
    for c in range(C - C % 2, C):
        early, late = signal[b, c, i], signal[b, c, j]
        for n in range(len(distances)):
            distances[n] += abs(late[n] - early[n])
    _scale(distances, C)


@_compiled
def _scale(distances: Array, channels: int) -> None:
    share = distances.dtype.type(1.0 / channels)
    for n in range(len(distances)):
        distances[n] *= share


@_compiled
def _subtract(own: Array, wanted: Array) -> float:
    """Turn ``own`` into its error against ``wanted``; return the sum of the squares."""
    total = own.dtype.type(0)
    for n in range(len(own)):
        own[n] -= wanted[n]
        total += own[n] * own[n]
    return float(total)


@_compiled
def _node_gradient(student: Array, gradient: Array, b: int, t: int, i: int, error: Array) -> None:
    """Add error x sign(F_j - F_i) to the nodes j > i, take it from node i; a tie adds nothing."""
    for c in range(student.shape[1]):
        row, at = student[b, c, t, i + 1 :], student[b, c, t, i]
        slopes = gradient[b, c, t, i + 1 :]
        total = error.dtype.type(0)
        for n in range(len(error)):
            slope = np.sign(row[n] - at) * error[n]
            slopes[n] += slope
            total += slope
        gradient[b, c, t, i] -= total


@_compiled
def _step_gradient(student: Array, gradient: Array, b: int, i: int, j: int, error: Array) -> None:
    """Add error x sign(F_j - F_i) to time step j, take it from time step i."""
    for c in range(student.shape[1]):
        early, late = student[b, c, i], student[b, c, j]
        early_slopes, late_slopes = gradient[b, c, i], gradient[b, c, j]
        for n in range(len(error)):
            slope = np.sign(late[n] - early[n]) * error[n]
            early_slopes[n] -= slope
            late_slopes[n] += slope
