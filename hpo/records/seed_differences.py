"""Say how sure a mean over seeds is, and whether a difference over shared seeds is shown.

Intervals are those of Student's t over seeds. What a race drops is decided by another test, in
``hpo.outcomes.racing``. Pure functions of numbers, on ``scipy.special`` alone: it loads in half the
time of ``scipy.stats``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from scipy import special

CONFIDENCE = 0.95


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the ends of the t-interval of a mean; None of fewer than two values.

    mean ± t(0.975, n - 1) s / sqrt(n), with s the sample standard deviation.
    """
    if len(values) < 2:
        return None
    half = _quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return mean - half, mean + half


def shown_worse(errors: Mapping[int, float], best: Mapping[int, float]) -> bool:
    """Whether the 95 % interval of the mean of ``errors`` less that of ``best`` is above zero.

    Of the differences on shared seeds where there are two or more; else Welch's, of two samples
    (Biometrika 34, 1947).

    Args:
        errors: by seed.
        best: of another configuration.

    Returns:
        False also of too few seeds: nothing is shown by one.
    """
    shared = [errors[seed] - best[seed] for seed in errors if seed in best]
    interval = mean_interval(shared) if len(shared) > 1 else _welch(errors, best)
    return interval is not None and interval[0] > 0


def _welch(one: Mapping[int, float], other: Mapping[int, float]) -> tuple[float, float] | None:
    """Return the interval of the difference of two means; None of fewer than two values each."""
    samples = [list(one.values()), list(other.values())]
    if min(map(len, samples)) < 2:
        return None
    parts = [statistics.variance(values) / len(values) for values in samples]
    difference = statistics.fmean(samples[0]) - statistics.fmean(samples[1])
    if sum(parts) == 0:
        return difference, difference
    weights = sum(part**2 / (len(values) - 1) for part, values in zip(parts, samples, strict=True))
    half = _quantile(sum(parts) ** 2 / weights) * math.sqrt(sum(parts))
    return difference - half, difference + half


def _quantile(freedom: float) -> float:
    return float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))
