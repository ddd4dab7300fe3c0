"""Loop over pairs for the compiled correlation terms: squared errors and their gradients.

The functions ``scd_...`` and ``tcd_...`` share one signature: (student, teacher, weights, gradient,
sums, start, stop). They do the tasks ``start`` to ``stop - 1``: fill ``gradient`` and write the
weighted sum of each task to ``sums``. Tasks share no output, so ranges may run in parallel, and
the result does not depend on the number of threads. Knows no tensors; ``cpu`` calls it.

Axes: S segments, R rows of the teacher's table, C channels, T time steps, N sensors.
Arrays have the memory order of signals inside the network, [S, T, C, N]: the nodes of a step are
contiguous.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class TeacherArrays(NamedTuple):
    """The teacher's values: at step t of segment s, entries x scale at row rows[s] + t."""

    entries: Array
    """Features [R, C, N] or distances [R, ...]; float32, or int16 of a stored table."""
    scale: Array
    """[R]."""
    rows: Array
    """[S]."""


Function = TypeVar("Function", bound=Callable[..., Any])

# Sums may be reordered; NaN and infinity are kept, since they must reach the loss.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}


def compiled(function: Function) -> Function:
    """Compile at the first call, for the types of that call; cached on disk where possible."""
    # The shape checks of the tests wrap every function, and a wrapper cannot be compiled.
    plain = inspect.unwrap(function)
    try:
        return cast(Function, numba.njit(nogil=True, cache=True, fastmath=FASTMATH)(plain))
    except RuntimeError:  # no folder for the cache
        return cast(Function, numba.njit(nogil=True, fastmath=FASTMATH)(plain))


@compiled
def scd_from_features(
    student: Array,
    teacher: TeacherArrays,
    weights: Array,
    gradient: Array,
    sums: Array,
    start: int,
    stop: int,
) -> None:
    """One task is one time step of one segment: node i against all nodes j > i, for each i."""
    _, T, C, N = student.shape
    row_error = np.empty(N, student.dtype)
    for task in range(start, stop):
        s, t = task // T, task % T
        row = teacher.rows[s] + t
        features = teacher.entries[row]
        columns, slopes = student[s, t], gradient[s, t]
        share, total = np.float32(teacher.scale[row] / len(features)), 0.0
        for i in range(N - 1):
            error = row_error[i + 1 :]
            error[:] = 0
            _add_node_distances(features, i, -share, error)
            total += _accumulate_node(columns, slopes, i, error)
        sums[task] = total * weights[t]
        _scale(gradient[s, t], 2.0 * weights[t] / C)


@compiled
def scd_from_distances(
    student: Array,
    teacher: TeacherArrays,
    weights: Array,
    gradient: Array,
    sums: Array,
    start: int,
    stop: int,
) -> None:
    """Do the same with stored distances of the teacher, read in order.

    A student's layer often has one or two channels: each has a loop of its own.
    """
    _, T, C, N = student.shape
    row_error = np.empty(N, student.dtype)
    for task in range(start, stop):
        s, t = task // T, task % T
        row = teacher.rows[s] + t
        wanted, scale = teacher.entries[row], teacher.scale[row]
        columns, slopes = student[s, t], gradient[s, t]
        if C == 1:
            total = _accumulate_one_channel(columns[0], slopes[0], wanted, scale)
        elif C == 2:
            total = _accumulate_two_channels(columns, slopes, wanted, scale)
        else:
            total = _accumulate_channels(columns, slopes, wanted, scale, row_error)
        sums[task] = total * weights[t]
        _scale(gradient[s, t], 2.0 * weights[t] / C)


@compiled
def tcd_from_features(
    student: Array,
    teacher: TeacherArrays,
    weights: Array,
    gradient: Array,
    sums: Array,
    start: int,
    stop: int,
) -> None:
    """One task is one segment: time step i against j, for all nodes at once."""
    _, T, C, N = student.shape
    error, share = np.empty(N, student.dtype), np.float32(1.0 / teacher.entries.shape[1])
    for s in range(start, stop):
        first, total = teacher.rows[s], 0.0
        for i in range(T - 1):
            for j in range(i + 1, T):
                if weights[i, j] > 0:
                    error[:] = 0
                    _add_step_distances(
                        teacher.entries[first + i], teacher.entries[first + j], -share, error
                    )
                    total += _accumulate_steps(student[s], gradient[s], i, j, weights[i, j], error)
        sums[s] = total
        _scale(gradient[s], 2.0 / C)


@compiled
def tcd_from_distances(
    student: Array,
    teacher: TeacherArrays,
    weights: Array,
    gradient: Array,
    sums: Array,
    start: int,
    stop: int,
) -> None:
    """Do the same with stored distances of the teacher, looked up by step and lag."""
    _, T, C, N = student.shape
    error = np.empty(N, student.dtype)
    for s in range(start, stop):
        total = 0.0
        for i in range(T - 1):
            row = teacher.rows[s] + i
            for j in range(i + 1, T):
                if weights[i, j] > 0:
                    _copy_scaled(teacher.entries[row, j - i - 1], -teacher.scale[row], error)
                    total += _accumulate_steps(student[s], gradient[s], i, j, weights[i, j], error)
        sums[s] = total
        _scale(gradient[s], 2.0 / C)


@compiled
def fill_node_distances(columns: Array, distances: Array, start: int, stop: int) -> None:
    """Add the nodes' distances to ``distances`` [S, T, P], zero so far; a task is a time step."""
    _, T, C, N = columns.shape
    for task in range(start, stop):
        s, t = task // T, task % T
        at = 0
        for i in range(N - 1):
            row = distances[s, t, at : at + N - 1 - i]
            _add_node_distances(columns[s, t], i, np.float32(1.0 / C), row)
            at += len(row)


@compiled
def fill_step_distances(columns: Array, distances: Array, start: int, stop: int) -> None:
    """Add the steps' distances to ``distances`` [S, T, lags, N], zero so far; a task is a step."""
    _, T, C, _ = columns.shape
    for task in range(start, stop):
        s, t = task // T, task % T
        for lag in range(1, min(distances.shape[2], T - 1 - t) + 1):
            late, row = columns[s, t + lag], distances[s, t, lag - 1]
            _add_step_distances(columns[s, t], late, np.float32(1.0 / C), row)


@compiled
def _accumulate_one_channel(row: Array, slopes: Array, wanted: Array, scale: np.float32) -> float:
    """Add the gradient of all nodes of a step, return the squared error."""
    N, at, total = len(row), 0, 0.0
    for i in range(N - 1):
        others, slopes_of_others, wanted_of_i = row[i + 1 :], slopes[i + 1 :], wanted[at:]
        squared = slope_sum = np.float32(0)
        for n in range(N - 1 - i):
            change = others[n] - row[i]
            error = abs(change) - scale * np.float32(wanted_of_i[n])
            slope = np.sign(change) * error
            slopes_of_others[n] += slope
            squared += error * error
            slope_sum += slope
        slopes[i] -= slope_sum
        total += float(squared)
        at += N - 1 - i
    return total


@compiled
def _accumulate_two_channels(
    columns: Array, slopes: Array, wanted: Array, scale: np.float32
) -> float:
    """Add the gradient of all nodes of a step, return the squared error."""
    N, at, total = columns.shape[1], 0, 0.0
    for i in range(N - 1):
        row0, at0, slopes0 = columns[0, i + 1 :], columns[0, i], slopes[0, i + 1 :]
        row1, at1, slopes1 = columns[1, i + 1 :], columns[1, i], slopes[1, i + 1 :]
        wanted_of_i = wanted[at:]
        squared = sum0 = sum1 = np.float32(0)
        for n in range(N - 1 - i):
            change0, change1 = row0[n] - at0, row1[n] - at1
            found = np.float32(0.5) * (abs(change0) + abs(change1))
            error = found - scale * np.float32(wanted_of_i[n])
            slope0, slope1 = np.sign(change0) * error, np.sign(change1) * error
            slopes0[n] += slope0
            slopes1[n] += slope1
            squared += error * error
            sum0 += slope0
            sum1 += slope1
        slopes[0, i] -= sum0
        slopes[1, i] -= sum1
        total += float(squared)
        at += N - 1 - i
    return total


@compiled
def _accumulate_channels(
    columns: Array, slopes: Array, wanted: Array, scale: np.float32, row_error: Array
) -> float:
    """Add the gradient of all nodes of a step, return the squared error; any number of channels."""
    N, at, total = columns.shape[1], 0, 0.0
    for i in range(N - 1):
        error = row_error[i + 1 :]
        _copy_scaled(wanted[at : at + len(error)], -float(scale), error)
        total += _accumulate_node(columns, slopes, i, error)
        at += len(error)
    return total


@compiled
def _accumulate_node(columns: Array, slopes: Array, i: int, error: Array) -> float:
    """Add node i's gradient, return its squared error.

    ``error`` holds minus the teacher's distances and is overwritten.
    """
    _add_node_distances(columns, i, np.float32(1.0 / columns.shape[0]), error)
    _node_gradient(columns, slopes, i, error)
    return _squared(error)


@compiled
def _accumulate_steps(
    columns: Array, gradient: Array, i: int, j: int, weight: float, error: Array
) -> float:
    """Add the gradient of steps i and j, return their weighted squared error.

    ``error`` holds minus the teacher's distances and is overwritten.
    """
    share = np.float32(1.0 / columns.shape[1])
    _add_step_distances(columns[i], columns[j], share, error)
    total = _squared(error) * weight
    _scale(error, weight)
    _step_gradient(columns, gradient, i, j, error)
    return total


@compiled
def _add_node_distances(columns: Array, i: int, share: np.float32, distances: Array) -> None:
    """Add ``share`` times the sum over channels of |F_j - F_i| for the nodes j > i."""
    C = columns.shape[0]
    for c in range(0, C - 3, 4):  # four channels at a time: fewer memory accesses
        row0, at0 = columns[c, i + 1 :], np.float32(columns[c, i])
        row1, at1 = columns[c + 1, i + 1 :], np.float32(columns[c + 1, i])
        row2, at2 = columns[c + 2, i + 1 :], np.float32(columns[c + 2, i])
        row3, at3 = columns[c + 3, i + 1 :], np.float32(columns[c + 3, i])
        for n in range(len(distances)):
            two = abs(np.float32(row0[n]) - at0) + abs(np.float32(row1[n]) - at1)
            four = two + abs(np.float32(row2[n]) - at2) + abs(np.float32(row3[n]) - at3)
            distances[n] += share * four
    for c in range(C - C % 4, C):
        row, at = columns[c, i + 1 :], np.float32(columns[c, i])
        for n in range(len(distances)):
            distances[n] += share * abs(np.float32(row[n]) - at)


@compiled
def _add_step_distances(early: Array, late: Array, share: np.float32, distances: Array) -> None:
    """Add ``share`` times the sum over channels of |late - early| for every node."""
    C = early.shape[0]
    for c in range(0, C - 1, 2):
        early0, late0, early1, late1 = early[c], late[c], early[c + 1], late[c + 1]
        for n in range(len(distances)):
            distances[n] += share * (abs(late0[n] - early0[n]) + abs(late1[n] - early1[n]))
    for c in range(C - C % 2, C):
        for n in range(len(distances)):
            distances[n] += share * abs(late[c, n] - early[c, n])


@compiled
def _copy_scaled(entries: Array, scale: float, values: Array) -> None:
    for n in range(len(values)):
        values[n] = scale * np.float32(entries[n])


@compiled
def _scale(values: Array, factor: float) -> None:
    flat, share = values.reshape(-1), values.dtype.type(factor)
    for n in range(len(flat)):
        flat[n] *= share


@compiled
def _squared(error: Array) -> float:
    total = error.dtype.type(0)
    for n in range(len(error)):
        total += error[n] * error[n]
    return float(total)


@compiled
def _node_gradient(columns: Array, gradient: Array, i: int, error: Array) -> None:
    """Add error x sign(F_j - F_i) to the nodes j > i, subtract it from node i; ties add nothing."""
    C = columns.shape[0]
    for c in range(0, C - 1, 2):
        row0, at0, slopes0 = columns[c, i + 1 :], columns[c, i], gradient[c, i + 1 :]
        row1, at1, slopes1 = columns[c + 1, i + 1 :], columns[c + 1, i], gradient[c + 1, i + 1 :]
        sum0 = sum1 = error.dtype.type(0)
        for n in range(len(error)):
            slope0, slope1 = np.sign(row0[n] - at0) * error[n], np.sign(row1[n] - at1) * error[n]
            slopes0[n] += slope0
            slopes1[n] += slope1
            sum0 += slope0
            sum1 += slope1
        gradient[c, i] -= sum0
        gradient[c + 1, i] -= sum1
    for c in range(C - C % 2, C):
        row, at, slopes = columns[c, i + 1 :], columns[c, i], gradient[c, i + 1 :]
        total = error.dtype.type(0)
        for n in range(len(error)):
            slope = np.sign(row[n] - at) * error[n]
            slopes[n] += slope
            total += slope
        gradient[c, i] -= total


@compiled
def _step_gradient(columns: Array, gradient: Array, i: int, j: int, error: Array) -> None:
    """Add error x sign(F_j - F_i) to time step j, subtract it from time step i."""
    for c in range(columns.shape[1]):
        early, late = columns[i, c], columns[j, c]
        early_slopes, late_slopes = gradient[i, c], gradient[j, c]
        for n in range(len(error)):
            slope = np.sign(late[n] - early[n]) * error[n]
            early_slopes[n] -= slope
            late_slopes[n] += slope
