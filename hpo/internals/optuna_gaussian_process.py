"""Fit the Gaussian process of Optuna's GP sampler to trials, which Optuna does not publish.

Optuna's terminator, which would do the rest, is deprecated and goes with Optuna 6. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FittedProcess:
    """A Gaussian process, given the values of some trials."""

    space: Any
    process: Any

    def places(self, trials: Sequence[FrozenTrial]) -> Floats:
        """Return the settings of trials in the unit cube, categories by number [trials, D]."""
        places: Floats = self.space.get_normalized_params(list(trials))
        return places

    def draw(self, count: int, seed: int) -> Floats:
        """Return points of the search space, spread evenly (quasi-random) [count, D]."""
        drawn: Floats = self.space.sample_normalized_params(count, np.random.RandomState(seed))
        return drawn

    def posterior(self, places: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation, without the noise, at places [P, D] -> [P], [P]."""
        import torch  # noqa: PLC0415 - slow to import

        with torch.no_grad():
            mean, variance = self.process.posterior(torch.from_numpy(places))
        return mean.numpy(), np.sqrt(variance.numpy())


def fit_process(
    trials: Sequence[FrozenTrial], values: Floats, distributions: Mapping[str, BaseDistribution]
) -> FittedProcess:
    """Fit Matérn's kernel (nu = 5/2), its scales and the noise to values by their likelihood.

    Args:
        trials: with settings for every parameter.
        values: of the trials, of mean 0 and standard deviation 1.
        distributions: by parameter.
    """
    from optuna._gp import gp, prior  # noqa: PLC0415 - slow to import: torch
    from optuna._gp.search_space import SearchSpace  # noqa: PLC0415

    space = SearchSpace(dict(distributions))
    process = gp.fit_kernel_params(
        X=space.get_normalized_params(list(trials)),
        Y=values,
        is_categorical=space.is_categorical,
        log_prior=prior.default_log_prior,
        minimum_noise=prior.DEFAULT_MINIMUM_NOISE_VAR,
        deterministic_objective=False,
    )
    return FittedProcess(space, process)
