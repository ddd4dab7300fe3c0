"""Decide which configurations a confirmation gives no further seeds: a race.

After some numbers of seeds, every configuration that is left is compared with the best of them by
the one-sided Wilcoxon signed-rank test of the differences on shared seeds. The level of each test
is chosen so that the configuration which truly is the best is dropped with a probability of at most
``LEVEL``: it is divided by the number of rivals (Bonferroni: whichever of them looks the best), and
the j-th look gets 1 / (j (j + 1)) of it, which sums to one over any number of looks. Of n pairs the
smallest p-value is 2 ** -n, so the first look waits for the fewest seeds that could drop anything:
6 of two configurations, 7 of three, 8 of five. Runs nothing and reads no file.

Racing: Maron and Moore, Hoeffding races, 1994; Birattari et al., A racing algorithm for configuring
metaheuristics, 2002.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

LEVEL = 0.05

Errors = Mapping[int, float]
"""By the index of their seed."""


@dataclass(frozen=True)
class Look:
    """When the configurations are compared."""

    seeds: int
    """After how many."""
    level: float
    """Of each test."""


@dataclass(frozen=True)
class Loser:
    """A configuration that is worse than the best, by their indices."""

    index: int
    best: int
    p: float


def looks(candidates: int, seeds: int) -> list[Look]:
    """Return when so many configurations are compared, before all ``seeds`` are used.

    They do not depend on ``seeds`` otherwise: a race that is asked for more goes on as it began.
    """
    rivals = candidates - 1
    if rivals < 1:
        return []
    first = math.ceil(math.log2(2 * rivals / LEVEL))
    return [
        Look(after, LEVEL / (look * (look + 1)) / rivals)
        for look, after in enumerate(range(first, seeds, first // 2), start=1)
    ]


def losers(errors: Sequence[Errors], look: Look) -> list[Loser]:
    """Return the configurations that are worse than the best of them at a look.

    The best has the lowest mean of those with the fewest failed runs. Seeds on which one of a pair
    failed do not count.

    Args:
        errors: of each configuration that is left, of finished runs.
        look: seeds from its number on do not count.
    """
    shown = [{at: one[at] for at in one if at < look.seeds} for one in errors]
    best = min(range(len(shown)), key=lambda at: (-len(shown[at]), _mean(shown[at])))
    found = []
    for index, one in enumerate(shown):
        p = worse(one, shown[best])
        if index != best and p <= look.level:
            found.append(Loser(index, best, p))
    return found


def worse(errors: Errors, best: Errors) -> float:
    """Return the p-value of the one-sided test that ``errors`` are above ``best``; 1 of no pair.

    Pairs without a difference say nothing and are left out, as Wilcoxon did.
    """
    differences = [errors[at] - best[at] for at in errors if at in best]
    differences = [one for one in differences if one != 0]
    if not differences:
        return 1.0
    return float(stats.wilcoxon(differences, alternative="greater", method="exact").pvalue)


def _mean(errors: Errors) -> float:
    return statistics.fmean(errors.values()) if errors else math.inf
