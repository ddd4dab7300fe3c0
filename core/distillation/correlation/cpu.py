"""The correlation terms for the CPU, compiled: each pair is visited once and forgotten.

The same two terms as in ``correlation``. One pass gives the loss and its gradient with respect to
the student, so no matrix of pairs is ever stored. What is stored of a teacher is read where it
lies: its rows are looked up inside the kernels, so nothing is gathered. The gradient has no
derivative of its own: differentiating twice is refused. It uses as many threads as torch does.
Needs numba; whether it is there, and which implementation is used, ``correlation`` decides.

Axes: S segments, R rows of what is known of the teacher, C channels, T time steps, N sensors.
Arrays lie as signals do inside the network, [S, T, C, N]: the nodes of a step are side by side.
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
    Taught,
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
    taught_by,
)

Kernel = Callable[[Array, Taught, Array, Array, Array, int, int], None]


def scd(
    student: Tensor, teacher: Tensor | StoredDistances | StoredFeatures, weights: Tensor
) -> Tensor:
    """Return what ``correlation.scd_loss`` does; ``weights`` [T] count one pair of each step."""
    stored = isinstance(teacher, StoredDistances)
    kernel = scd_from_distances if stored else scd_from_features
    tasks = student.shape[0] * student.shape[2]
    return _summed(kernel, tasks, student, _taught(teacher), weights)


def tcd(student: Tensor, teacher: Tensor | StoredDistances, weights: Tensor) -> Tensor:
    """Return what ``correlation.tcd_loss`` does; ``weights`` [T, T] count one pair of steps."""
    stored = isinstance(teacher, StoredDistances)
    kernel = tcd_from_distances if stored else tcd_from_features
    return _summed(kernel, student.shape[0], student, _taught(teacher), weights)


def node_distances(signal: Tensor) -> Tensor:
    """Return what ``correlation.node_distances`` does, without a gradient."""
    own = _columns(signal)
    S, T, _, N = own.shape
    distances = np.zeros((S, T, N * (N - 1) // 2), np.float32)
    _in_threads(lambda start, stop: fill_node_distances(own, distances, start, stop), S * T)
    return torch.from_numpy(distances)


def step_distances(signal: Tensor, lags: int) -> Tensor:
    """Return what ``correlation.step_distances`` does, without a gradient."""
    own = _columns(signal)
    S, T, _, N = own.shape
    distances = np.zeros((S, T, lags, N), np.float32)
    _in_threads(lambda start, stop: fill_step_distances(own, distances, start, stop), S * T)
    return torch.from_numpy(distances)


def _summed(kernel: Kernel, tasks: int, student: Tensor, taught: Taught, weights: Tensor) -> Tensor:
    """Return the sum of what ``kernel`` finds in ``tasks``, with the gradient it finds."""
    own, counts = _columns(student), weights.numpy()
    gradient, sums = np.zeros_like(own), np.empty(tasks)
    _in_threads(lambda start, stop: kernel(own, taught, counts, gradient, sums, start, stop), tasks)
    found = torch.from_numpy(gradient).transpose(1, 2)
    return with_gradient(student, student.new_tensor(sums.sum()), found)


def _columns(signal: Tensor) -> Array:
    array: Array = columns_of(signal).numpy()
    return array


def _taught(teacher: Tensor | StoredDistances | StoredFeatures) -> Taught:
    return Taught(*(known.numpy() for known in taught_by(teacher)))


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
    """Return threads of our own: numba's survive no fork and, with some layers, no second caller.

    Kept from call to call, but not over a fork, hence ``process``: starting them costs as much as
    a small layer's work.
    """
    return ThreadPoolExecutor(threads)
