"""When a race looks, whom it drops, and how rarely that is the configuration that is the best."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from hpo.outcomes.racing import LEVEL, Look, looks, losers, worse


def enumerated(differences: list[float]) -> float:
    """The exact test by its definition: all signs are equally likely."""
    order = np.argsort(np.argsort(np.abs(differences))) + 1
    observed = order[np.array(differences) > 0].sum()
    sums = [
        order[np.array(signs, bool)].sum() for signs in product([0, 1], repeat=len(differences))
    ]
    return float(np.mean(np.array(sums) >= observed))


@pytest.mark.parametrize("pairs", [1, 2, 5, 8])
def test_the_test_is_wilcoxons_by_enumeration(pairs: int) -> None:
    drawn = np.random.default_rng(pairs)
    for _ in range(20):
        differences = list(drawn.normal(0.3, 1.0, pairs))
        errors = {at: 5.0 + one for at, one in enumerate(differences)}
        best = {at: errors[at] - one for at, one in enumerate(differences)}
        assert worse(errors, best) == pytest.approx(enumerated(differences))


def test_pairs_without_a_difference_or_a_partner_say_nothing() -> None:
    best = {0: 1.0, 1: 1.0, 2: 1.0}
    assert worse(best, best) == 1.0
    assert worse({7: 3.0}, best) == 1.0
    assert worse({0: 1.0, 1: 2.0, 2: 2.5, 7: 9.0}, best) == pytest.approx(1 / 4)


@pytest.mark.parametrize("candidates", range(2, 12))
def test_a_look_comes_as_soon_as_it_could_drop_and_no_level_is_spent_twice(
    candidates: int,
) -> None:
    planned = looks(candidates, 200)
    first = planned[0]
    assert 2.0**-first.seeds <= first.level < 2.0 ** (1 - first.seeds)
    assert all(2.0**-one.seeds <= one.level for one in planned)
    assert sum(one.level for one in planned) * (candidates - 1) <= LEVEL
    # A race that is asked for fewer seeds looks as it would for more.
    assert looks(candidates, first.seeds + 1) == [first]
    assert looks(candidates, first.seeds) == []


def test_first_looks_are_as_the_command_says() -> None:
    assert [looks(count, 99)[0].seeds for count in (2, 3, 5)] == [6, 7, 8]
    assert looks(1, 99) == []


def test_only_what_is_worse_on_shared_seeds_is_dropped() -> None:
    best = {seed: 1.0 + seed for seed in range(8)}
    near = {seed: error + (0.1 if seed % 2 else -0.099) for seed, error in best.items()}
    far = {seed: error + 0.1 + seed / 100 for seed, error in best.items()}
    failed = dict.fromkeys((0, 1), 0.1)
    found = losers([far, best, near, failed], Look(8, 0.01))
    assert [(one.index, one.best, one.p) for one in found] == [(0, 1, 2.0**-8)]
    assert losers([far, best, near, failed], Look(8, 0.001)) == []


def test_later_seeds_do_not_change_an_earlier_look() -> None:
    one = {seed: 2.0 + seed / 10 for seed in range(6)}
    other = dict.fromkeys(range(6), 1.0)
    look = looks(2, 99)[0]
    later = ({**one, 6: 0.0, 7: 0.0}, {**other, 6: 90.0})
    assert losers([one, other], look) == losers(later, look) != []


def raced(drawn: np.random.Generator, means: list[float], seeds: int) -> tuple[set[int], int]:
    """Who is left after a race of normal errors, and how many runs it took."""
    shared = drawn.normal(0.0, 1.0, seeds)
    errors = [dict(enumerate(mean + shared + drawn.normal(0.0, 1.0, seeds))) for mean in means]
    left, runs, done = list(range(len(means))), 0, 0
    for look in looks(len(means), seeds):
        runs, done = runs + len(left) * (look.seeds - done), look.seeds
        gone = {left[one.index] for one in losers([errors[at] for at in left], look)}
        left = [at for at in left if at not in gone]
        if len(left) == 1:
            return set(left), runs
    return set(left), runs + len(left) * (seeds - done)


def test_the_best_is_kept_and_seeds_are_saved() -> None:
    drawn = np.random.default_rng(0)
    races = [raced(drawn, [0.0, 0.0, 0.0, 0.0, 0.0], 20) for _ in range(300)]
    lost = np.mean([0 not in left for left, _ in races])
    assert lost <= LEVEL  # one of five that are alike, named before
    races = [raced(drawn, [0.0, 3.0, 3.0, 3.0, 3.0], 20) for _ in range(100)]
    assert all(0 in left for left, _ in races)
    assert np.mean([runs for _, runs in races]) < 0.6 * 5 * 20
