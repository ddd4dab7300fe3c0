"""Intervals over seeds against SciPy's own, and what counts as shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hpo.records.seed_differences import mean_interval, shown_worse

errors = st.lists(st.integers(1, 10**6).map(lambda value: value / 1000), min_size=2, max_size=9)

unlike = st.lists(st.integers(1, 10**4), min_size=2, max_size=9, unique=True).map(
    lambda values: [value / 100 for value in values]
)


@given(errors)
def test_the_interval_is_scipys(values: list[float]) -> None:
    interval = mean_interval(values)
    assert interval is not None
    if len(set(values)) == 1:
        assert interval == pytest.approx((values[0], values[0]))
        return
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert interval == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(unlike, unlike)
def test_without_shared_seeds_welch_decides(one: list[float], other: list[float]) -> None:
    found = shown_worse(dict(enumerate(one)), dict(enumerate(other, start=100)))
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    if abs(expected.low) > 1e-9:
        assert found == (expected.low > 0)


def test_without_spread_any_difference_is_shown() -> None:
    assert shown_worse({1: 2.0, 2: 2.0}, {7: 1.0, 8: 1.0})
    assert not shown_worse({1: 1.0, 2: 1.0}, {7: 1.0, 8: 1.0})


def test_shared_seeds_are_compared_seed_by_seed() -> None:
    """Seeds differ by far more than the two configurations do."""
    best = {1: 1.0, 2: 2.0, 3: 3.0, 9: 50.0}
    assert shown_worse({1: 1.1, 2: 2.11, 3: 3.09, 7: 0.1}, best)
    assert not shown_worse(best, {1: 1.1, 2: 2.11, 3: 3.09})
    assert not shown_worse({1: 1.1, 2: 1.9, 3: 3.1}, best)


def test_one_seed_shows_nothing() -> None:
    assert mean_interval([1.0]) is None
    assert not shown_worse({1: 9.0}, {1: 1.0, 2: 1.0})
    assert not shown_worse({}, {})
