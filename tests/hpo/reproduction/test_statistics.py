"""Intervals, corrections and numbers of seeds against naive restatements in NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.reproduction.statistics import (
    FEWEST_DAYS,
    Interval,
    day_block_interval,
    holm,
    mean_interval,
    paired,
    seeds_needed,
)

T_975 = {1: 12.7062, 4: 2.77645, 9: 2.26216}
"""Quantiles of Student's t by degrees of freedom, as tables print them."""


@pytest.mark.parametrize("seeds", [2, 5, 10])
def test_an_interval_is_that_of_the_textbook(seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(-0.05, 0.03, seeds)
    found = paired(values.tolist())
    half = T_975[seeds - 1] * np.sqrt(np.sum((values - values.mean()) ** 2) / (seeds - 1) / seeds)
    assert found.interval.mean == pytest.approx(values.mean())
    assert found.interval.low == pytest.approx(values.mean() - half, rel=1e-4)
    assert found.interval.high == pytest.approx(values.mean() + half, rel=1e-4)
    assert (found.p < 0.05) == found.interval.excludes_zero
    assert mean_interval(values.tolist()) == found.interval


def test_the_projects_own_comparison_comes_out_again() -> None:
    """docs/RESULTS.md: 0.051 mph, from 0.020 to 0.081."""
    none = [2.866, 2.800, 2.838, 2.812, 2.813]
    stcd = [2.779, 2.763, 2.772, 2.781, 2.780]
    found = paired([a - b for a, b in zip(none, stcd, strict=True)]).interval
    assert (found.mean, found.low, found.high) == pytest.approx((0.051, 0.020, 0.081), abs=1e-3)


def test_differences_without_spread_need_no_test() -> None:
    assert paired([0.0, 0.0]).p == 1.0
    assert paired([0.5, 0.5, 0.5]).p == 0.0
    assert mean_interval([3.0]) == Interval(3.0, 3.0, 3.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_definition_rejects(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
            if p_values[at] * (len(p_values) - rank) > level:
                break
            rejected.add(at)
        assert {at for at, p in enumerate(corrected) if p <= level} == rejected


def test_days_are_drawn_whole_and_the_same_for_both() -> None:
    rng = np.random.default_rng(0)
    better, worse = rng.uniform(80, 120, (4, 3)), rng.uniform(90, 130, (4, 3))
    entries = np.array([[50.0] * 3, [40.0] * 3, [45.0] * 3, [50.0] * 3])
    all_draws = []
    for drawn in itertools.product(range(4), repeat=4):  # every resample there is
        errors = [
            np.mean(
                [sums[list(drawn), at].sum() / entries[list(drawn), at].sum() for at in (0, 1, 2)]
            )
            for sums in (better, worse)
        ]
        all_draws.append(errors[0] - errors[1])
    found = day_block_interval(better, worse, entries, entries)
    assert found is not None
    low, high = np.percentile(all_draws, [2.5, 97.5])
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)
    whole = np.mean(better.sum(0) / entries.sum(0) - worse.sum(0) / entries.sum(0))
    assert found.mean == pytest.approx(whole)


def test_too_few_days_give_no_interval() -> None:
    few = np.ones((FEWEST_DAYS - 1, 3))
    assert day_block_interval(few, few, few, few) is None
    enough = np.ones((FEWEST_DAYS, 3))
    assert day_block_interval(enough, enough, enough, enough) == Interval(0.0, 0.0, 0.0)


def test_the_number_of_seeds_is_the_first_that_shows_the_difference() -> None:
    """By simulation: four of five experiments of that size are significant, of one less fewer."""
    needed = seeds_needed(0.6, 1.0, 0.05)
    assert needed is not None
    rng = np.random.default_rng(1)
    powers = []
    for seeds in (needed - 3, needed):
        draws = rng.normal(0.6, 1.0, (20_000, seeds))
        ratios = np.abs(draws.mean(1)) / (draws.std(1, ddof=1) / np.sqrt(seeds))
        # The quantile of t from a simulation too: no distribution of SciPy.
        null = rng.normal(0.0, 1.0, (200_000, seeds))
        threshold = np.quantile(np.abs(null.mean(1)) / (null.std(1, ddof=1) / np.sqrt(seeds)), 0.95)
        powers.append((ratios > threshold).mean())
    assert powers[0] < 0.79
    assert powers[1] > 0.79


def test_what_no_number_of_seeds_decides() -> None:
    assert seeds_needed(0.0, 1.0, 0.05) is None
    assert seeds_needed(0.001, 1.0, 0.05) is None
    assert seeds_needed(0.5, 0.0, 0.05) == 2
    strict, loose = seeds_needed(0.5, 1.0, 0.01), seeds_needed(0.5, 1.0, 0.05)
    assert strict is not None
    assert loose is not None
    assert strict > loose
    assert seeds_needed(1000.0, 1.0, 0.05) == 2
