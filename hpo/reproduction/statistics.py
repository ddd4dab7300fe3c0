"""Compare errors over seeds and over days: intervals, corrected p-values, how many seeds decide.

Pure functions of numbers, on SciPy's distributions. Says nothing of claims (``verdicts`` does).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
POWER = 0.8
"""Chance to see a difference of the size observed, if it is there, with ``seeds_needed``."""
RESAMPLES = 9999
FEWEST_DAYS = 4
"""Of fewer, the interval would be no more than the range of the days: each of them alone fills more
than 2.5 % of the resamples."""
MOST_SEEDS = 1000
"""Beyond this many a difference is called too small."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether both ends are on one side of zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Paired:
    """Differences between two students of the same seeds."""

    interval: Interval
    spread: float
    """Sample standard deviation of the differences."""
    p: float
    """Two-sided, of Student's t-test that the mean difference is zero."""


def paired(differences: Sequence[float]) -> Paired:
    """Compare over seeds by Student's t-test of the paired differences.

    Args:
        differences: one per seed, at least two.
    """
    values = np.asarray(differences, dtype=np.float64)
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    if spread == 0:  # the t-test divides by it
        return Paired(Interval(mean, mean, mean), 0.0, 0.0 if mean else 1.0)
    found = stats.ttest_1samp(values, 0.0)
    low, high = found.confidence_interval(CONFIDENCE)
    return Paired(Interval(mean, float(low), float(high)), spread, float(found.pvalue))


def mean_interval(values: Sequence[float]) -> Interval:
    """Return a mean and its interval by Student's t; without width of a single value."""
    if len(values) < 2:
        return Interval(values[0], values[0], values[0])
    return paired(values).interval


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being several, by Holm's step-down method.

    Returns:
        In the same order; below a level where the hypothesis is rejected at that level.
    """
    count, corrected, highest = len(p_values), [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(count), key=lambda at: p_values[at])):
        highest = max(highest, min(1.0, (count - rank) * p_values[at]))
        corrected[at] = highest
    return corrected


def day_block_interval(
    better: Floats, worse: Floats, entries_better: Floats, entries_worse: Floats
) -> Interval | None:
    """Resample whole days with replacement; return the interval of the difference of two MAEs.

    The same days are drawn for both. The errors of a day's windows depend on each other, so days
    are the blocks.

    Args:
        better: sums of absolute errors [days, horizons], over all seeds.
        worse: the same of the other students.
        entries_better: how many errors each sum holds.
        entries_worse: the same of the other students.

    Returns:
        Of the mean over horizons, ``better`` less ``worse``; None of fewer than ``FEWEST_DAYS``.
    """
    days = len(better)
    if days < FEWEST_DAYS:
        return None

    def difference(drawn: NDArray[np.int64], axis: int = -1) -> Floats:
        def error(sums: Floats, entries: Floats) -> Floats:
            # [..., days, horizons] -> [...]
            ratio = sums[drawn].sum(axis=axis - 1) / entries[drawn].sum(axis=axis - 1)
            mean: Floats = ratio.mean(axis=-1)
            return mean

        return error(better, entries_better) - error(worse, entries_worse)

    found = stats.bootstrap(
        (np.arange(days),),
        difference,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    whole = float(difference(np.arange(days)))
    return Interval(whole, float(found.low), float(found.high))


def seeds_needed(mean: float, spread: float, level: float) -> int | None:
    """Return how many seeds would show a difference, were it as large as it seems.

    Args:
        mean: difference observed.
        spread: standard deviation of the paired differences.
        level: of the two-sided t-test; Holm's first step has 0.05 over the number of claims.

    Returns:
        The fewest whose test has a power of ``POWER``; None of more than ``MOST_SEEDS``.
    """
    if mean == 0:
        return None
    if spread == 0:
        return 2
    effect = abs(mean) / spread
    # The power grows with the number of seeds, so halving finds the first that has enough.
    low, high = 2, MOST_SEEDS
    if _power(effect, high, level) < POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        if _power(effect, middle, level) >= POWER:
            high = middle
        else:
            low = middle + 1
    return low


def _power(effect: float, seeds: int, level: float) -> float:
    """Return the chance that a two-sided t-test shows an effect, in standard deviations."""
    threshold = stats.t.ppf(1 - level / 2, seeds - 1)
    shift = effect * math.sqrt(seeds)
    power = stats.nct.sf(threshold, seeds - 1, shift)
    # SciPy gives NaN for shifts so large that nothing is left of the other tail.
    return 1.0 if math.isnan(power) else float(power)
