"""Bound how much better than its best trial a search could still become: its simple regret.

Makarova et al., Automatic Termination for Hyperparameter Optimization, 2022, equation (3): a
Gaussian process of the errors lies, with high probability, within mean ± sqrt(beta) standard
deviations everywhere, so the best trial is at most

    min over trials (mean + sqrt(beta) s)  -  min over the space (mean - sqrt(beta) s)

above the lowest error there is. The process is fitted to the better half of the trials, as Optuna's
terminator does: what is far from the best would set its scale. Bounds are those of the errors
that trials are expected to have over seeds, not of a lucky seed. Decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from hpo.internals.optuna_gaussian_process import Floats, fit_process

CONFIDENCE = 0.9
"""Probability that the process lies within its bounds."""
POINTS = 2048
"""Of the search space, at which the lower bound is evaluated, beside the trials."""
SHARE = 0.5
FEWEST = 20
"""The better half of the trials counts, but so many at least."""


def regret_bound(
    trials: Sequence[FrozenTrial], distributions: Mapping[str, BaseDistribution], seed: int
) -> float:
    """Return the bound, in the unit of the trials' error.

    Args:
        trials: finished, with one value each, to be minimised; several may have one configuration.
        distributions: of the search space.
        seed: of the points.
    """
    errors = np.array([trial.value for trial in trials], dtype=np.float64)
    top = np.argsort(errors, kind="stable")[: max(FEWEST, int(len(errors) * SHARE))]
    scale = max(float(errors[top].std()), 1e-10)
    best = [trials[at] for at in top]
    process = fit_process(best, (errors[top] - errors[top].mean()) / scale, distributions)
    places = process.places(best)
    everywhere = np.concatenate([places, process.draw(POINTS, seed)])
    root = math.sqrt(beta(len(distributions), len(best)))
    return scale * (
        _upper(*process.posterior(places), root) - _lower(*process.posterior(everywhere), root)
    )


def beta(parameters: int, trials: int) -> float:
    """Return the squared width of the bounds: 2 ln(D t² pi² / (6 delta)) / 5, as Optuna has it.

    Srinivas et al. (2010), theorem 1, with the number of parameters in place of that of points, and
    their division by five, both of which Makarova et al. take over.
    """
    return 2 * math.log(parameters * trials**2 * math.pi**2 / (6 * (1 - CONFIDENCE))) / 5


def _upper(mean: Floats, deviation: Floats, root: float) -> float:
    return float((mean + root * deviation).min())


def _lower(mean: Floats, deviation: Floats, root: float) -> float:
    return float((mean - root * deviation).min())
