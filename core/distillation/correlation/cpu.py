"""Compute the correlation terms on the CPU, compiled by Numba, without storing pairs.

The same two terms as in ``terms``. One pass visits each pair once and gives the loss and its
gradient with respect to the student, so no matrix of pairs is ever stored. A teacher's stored rows
are looked up inside the kernels, so nothing is gathered. The gradient is a constant:
differentiating twice is refused. Uses as many threads as torch does. Needs numba; which
implementation is used is decided in ``backends``.

Axes: S segments, R rows of the teacher's table, C channels, T time steps, N sensors.
Arrays have the memory order of signals inside the network, [S, T, C, N]: the nodes of a step are
contiguous.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from core.distillation.correlation.cpu_loops import (
    Array,
    TeacherArrays,
    fill_node_distances,
    fill_step_distances,
    scd_from_distances,
    scd_from_features,
    tcd_from_distances,
    tcd_from_features,
)
from core.distillation.correlation.reference import with_gradient
from core.distillation.correlation.step_tables import (
    StoredDistances,
    StoredFeatures,
    columns_of,
    teacher_arrays,
)

Kernel = Callable[[Array, TeacherArrays, Array, Array, Array, int, int], None]


def scd(
    student: Tensor, teacher: Tensor | StoredDistances | StoredFeatures, weights: Tensor
) -> Tensor:
    """Return what ``terms.scd_loss`` does; ``weights`` [T] weigh one pair of each step."""
    stored = isinstance(teacher, StoredDistances)
    kernel = scd_from_distances if stored else scd_from_features
    tasks = student.shape[0] * student.shape[2]
    return _summed(kernel, tasks, student, _arrays_of(teacher), weights)


def tcd(student: Tensor, teacher: Tensor | StoredDistances, weights: Tensor) -> Tensor:
    """Return what ``terms.tcd_loss`` does; ``weights`` [T, T] weigh one pair of steps."""
    stored = isinstance(teacher, StoredDistances)
    kernel = tcd_from_distances if stored else tcd_from_features
    return _summed(kernel, student.shape[0], student, _arrays_of(teacher), weights)


def node_distances(signal: Tensor) -> Tensor:
    """Return what ``terms.node_distances`` does, without a gradient."""
    own = _columns(signal)
    S, T, _, N = own.shape
    distances = np.zeros((S, T, N * (N - 1) // 2), np.float32)
    _in_threads(lambda start, stop: fill_node_distances(own, distances, start, stop), S * T)
    return torch.from_numpy(distances)


def step_distances(signal: Tensor, lags: int) -> Tensor:
    """Return what ``terms.step_distances`` does, without a gradient."""
    own = _columns(signal)
    S, T, _, N = own.shape
    distances = np.zeros((S, T, lags, N), np.float32)
    _in_threads(lambda start, stop: fill_step_distances(own, distances, start, stop), S * T)
    return torch.from_numpy(distances)


def _summed(
    kernel: Kernel, tasks: int, student: Tensor, teacher: TeacherArrays, weights: Tensor
) -> Tensor:
    """Return the sum of ``kernel`` over ``tasks``, with the gradient that it computes."""
    own, counts = _columns(student), weights.numpy()
    gradient, sums = np.zeros_like(own), np.empty(tasks)
    _in_threads(
        lambda start, stop: kernel(own, teacher, counts, gradient, sums, start, stop), tasks
    )
    found = torch.from_numpy(gradient).transpose(1, 2)
    return with_gradient(student, student.new_tensor(sums.sum()), found)


def _columns(signal: Tensor) -> Array:
    array: Array = columns_of(signal).numpy()
    return array


def _arrays_of(teacher: Tensor | StoredDistances | StoredFeatures) -> TeacherArrays:
    return TeacherArrays(*(array.numpy() for array in teacher_arrays(teacher)))


def _in_threads(work: Callable[[int, int], None], tasks: int) -> None:
    """Split ``tasks`` evenly over torch's number of threads."""
    threads = min(torch.get_num_threads(), tasks)
    if threads == 1:
        work(0, tasks)
        return
    bounds = [tasks * part // threads for part in range(threads + 1)]
    list(_thread_pool(os.getpid(), threads).map(work, bounds[:-1], bounds[1:]))


@functools.lru_cache(maxsize=1)
def _thread_pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return our own threads: Numba's survive no fork and, with some layers, no second caller.

    Kept between calls, since starting them costs as much as a small layer; ``process`` keeps a
    forked process from using those of its parent.
    """
    return ThreadPoolExecutor(threads)
