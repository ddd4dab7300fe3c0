"""The distillation losses restated naively: float64 NumPy, one loop per index of the equations.

Features are [B, C, T, N], predictions and targets [B, N] or [B, H, N]; a target may be NaN where
nothing was measured. Slow on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def scd(student: Array, teacher: Array) -> float:
    """Eq. 9-10."""
    B, _, T, N = student.shape
    terms = []
    for b, t in product(range(B), range(T)):
        for i, j in combinations(range(N), 2):
            own = np.mean([abs(channel[t, i] - channel[t, j]) for channel in student[b]])
            wanted = np.mean([abs(channel[t, i] - channel[t, j]) for channel in teacher[b]])
            terms.append((own - wanted) ** 2)
    return float(np.mean(terms))


def tcd(student: Array, teacher: Array) -> float:
    """Eq. 7-8."""
    B, _, T, N = student.shape
    terms = []
    for b, n in product(range(B), range(N)):
        for i, j in combinations(range(T), 2):
            own = np.mean([abs(channel[i, n] - channel[j, n]) for channel in student[b]])
            wanted = np.mean([abs(channel[i, n] - channel[j, n]) for channel in teacher[b]])
            terms.append((own - wanted) ** 2)
    return float(np.mean(terms))


def structure(student: Array, teacher: Array) -> float:
    """RKD distance over the nodes of one time step, distances relative to their mean."""
    B, _, T, N = student.shape
    terms = []
    for b, t in product(range(B), range(T)):
        for own, wanted in zip(
            _relative_distances(student[b, :, t]),
            _relative_distances(teacher[b, :, t]),
            strict=True,
        ):
            error = abs(own - wanted)
            terms.append(0.5 * error**2 if error < 1 else error - 0.5)
    assert len(terms) == B * T * N * (N - 1) // 2
    return float(np.mean(terms))


def _relative_distances(nodes: Array) -> list[float]:
    distances = [
        math.sqrt(sum((channel[i] - channel[j]) ** 2 for channel in nodes))
        for i, j in combinations(range(nodes.shape[1]), 2)
    ]
    mean = max(sum(distances) / len(distances), 1e-6)
    return [distance / mean for distance in distances]


def mimicry(student: Array, teacher: Array) -> float:
    """Mean-squared difference of channel means."""
    B, _, T, N = student.shape
    terms = []
    for b, t, n in product(range(B), range(T), range(N)):
        terms.append((np.mean(student[b, :, t, n]) - np.mean(teacher[b, :, t, n])) ** 2)
    return float(np.mean(terms))


def response_error(prediction: Array, target: Array, error: str = "mse") -> float:
    """Mean over windows, steps ahead if there are some, and sensors, where there is a target."""
    terms = []
    for index in np.ndindex(*prediction.shape):
        if math.isnan(target[index]):
            continue
        difference = abs(prediction[index] - target[index])
        if error == "mse":
            terms.append(difference**2)
        elif error == "mae":
            terms.append(difference)
        else:
            terms.append(difference**2 / 2 if difference < 1 else difference - 1 / 2)
    return sum(terms) / len(terms) if terms else 0.0


def response_kl(student: Array, teacher: Array) -> float:
    """KL(teacher || student) of the softmax over the nodes, mean over windows and steps ahead."""
    terms = []
    for index in np.ndindex(*student.shape[:-1]):
        own, wanted = student[index], teacher[index]
        q = [math.exp(value) / sum(map(math.exp, own)) for value in own]
        p = [math.exp(value) / sum(map(math.exp, wanted)) for value in wanted]
        terms.append(sum(p[n] * math.log(p[n] / q[n]) for n in range(len(p))))
    return float(np.mean(terms))


def rd_l2(student: Array, teacher: Array, target: Array, beta: float, error: str = "mse") -> float:
    """Eq. 3."""
    response = response_error(student, teacher, error)
    return beta * response + (1 - beta) * response_error(student, target, error)


def rd_kl(student: Array, teacher: Array, target: Array, beta: float, error: str = "mse") -> float:
    """Eq. 1-2."""
    task = response_error(student, target, error)
    return beta * response_kl(student, teacher) + (1 - beta) * task


def ord_mixture(teacher: Array, target: Array, alpha1: float) -> tuple[Array, float]:
    """Eq. 4-5: the mixed target and the share of it that is the teacher's (Table 3).

    Without a target there is no mixture: NaN.
    """
    mixture, taken = np.full_like(target, np.nan), 0
    for b in np.ndindex(*target.shape[:-1]):  # a window, or a step ahead of one
        known = [n for n in range(target.shape[-1]) if not math.isnan(target[b][n])]
        differences = {n: abs(teacher[b][n] - target[b][n]) for n in known}
        least, most = min(differences.values(), default=0), max(differences.values(), default=0)
        for n, difference in differences.items():
            normalised = (difference - least) / (most - least) if most > least else 0.0
            taken += normalised > alpha1
            mixture[(*b, n)] = teacher[(*b, n)] if normalised > alpha1 else target[(*b, n)]
    return mixture, taken / max(1, int((~np.isnan(target)).sum()))


def ord_(student: Array, teacher: Array, target: Array, alpha1: float, error: str = "mse") -> float:
    """Eq. 6."""
    return response_error(student, ord_mixture(teacher, target, alpha1)[0], error)


def revised(task: Array, distilling: Sequence[Array], alpha: float) -> Array:
    """SKD's gradient: each distilling gradient projected where it conflicts with the task's."""
    total = (1 - alpha) * task
    for gradient in distilling:
        dot = sum(a * b for a, b in zip(gradient, task, strict=True))
        squared_length = sum(a * a for a in task)
        kept = gradient - dot / squared_length * task if dot < 0 else gradient
        total = total + alpha * kept
    return total


def numeric_gradient(function: Callable[[Array], float], at: Array, step: float = 1e-6) -> Array:
    """Central differences of ``function``, one entry at a time."""
    gradient = np.empty_like(at)
    for index in np.ndindex(*at.shape):
        ahead, behind = at.copy(), at.copy()
        ahead[index] += step
        behind[index] -= step
        gradient[index] = (function(ahead) - function(behind)) / (2 * step)
    return gradient
