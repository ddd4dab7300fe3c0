"""The regret bound against a naive Gaussian process in NumPy, and against errors that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from hpo.internals.optuna_gaussian_process import FittedProcess, fit_process
from hpo.search.regret_bound import FEWEST, POINTS, beta, regret_bound

SPACE: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "width": FloatDistribution(0.0, 2.0),
    "kind": CategoricalDistribution(["one", "two", "three"]),
}


def error(rate: float, width: float, kind: str) -> float:
    """Lowest, 3.0, at a rate of 0.01, a width of 1 and kind ``two``."""
    return 3.0 + 0.1 * (math.log10(rate) + 2) ** 2 + 0.2 * (width - 1) ** 2 + 0.3 * (kind != "two")


def tried(count: int, noise: float = 0.0, seed: int = 0) -> list[FrozenTrial]:
    drawn = np.random.default_rng(seed)
    trials = []
    for _ in range(count):
        params = {
            "rate": float(10 ** drawn.uniform(-4, 0)),
            "width": float(drawn.uniform(0, 2)),
            "kind": str(drawn.choice(["one", "two", "three"])),
        }
        value = error(**params) + noise * float(drawn.normal())
        trials.append(create_trial(params=params, distributions=SPACE, value=value))
    return trials


def naive_posterior(
    fitted: FittedProcess, values: list[float], known: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Matérn 5/2 over rate and width, and over whether the kinds differ."""
    process = fitted.process
    weights = process.inverse_squared_lengthscales.detach().numpy()
    scale, noise = float(process.kernel_scale), float(process.noise_var)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        parts = [(a[0] - b[0]) ** 2, (a[1] - b[1]) ** 2, float(a[2] != b[2])]
        distance = math.sqrt(5 * sum(w * part for w, part in zip(weights, parts, strict=True)))
        return scale * (1 + distance + distance**2 / 3) * math.exp(-distance)

    inside = np.array([[kernel(a, b) for b in known] for a in known]) + noise * np.eye(len(known))
    across = np.array([[kernel(a, b) for b in known] for a in places])
    mean = across @ np.linalg.solve(inside, values)
    spent = np.einsum("pk,kp->p", across, np.linalg.solve(inside, across.T))
    return mean, np.sqrt(np.maximum(scale - spent, 0))


def unit(trial: FrozenTrial) -> list[float]:
    """A trial in the unit cube, by hand."""
    kinds = ["one", "two", "three"]
    rate = (math.log(trial.params["rate"]) - math.log(1e-4)) / (math.log(1.0) - math.log(1e-4))
    return [rate, trial.params["width"] / 2, kinds.index(trial.params["kind"])]


def test_the_bound_is_that_of_a_naive_process(quiet_optuna: None) -> None:
    trials = tried(50, noise=0.02)
    # By hand: the better half, standardised.
    best = sorted(trials, key=lambda one: one.value or 0.0)[:25]
    errors = [float(one.value or 0.0) for one in best]
    mean = sum(errors) / 25
    deviation = math.sqrt(sum((one - mean) ** 2 for one in errors) / 25)
    values = [(one - mean) / deviation for one in errors]
    fitted = fit_process(best, np.array(values), SPACE)
    known = np.array([unit(one) for one in best])
    assert fitted.places(best) == pytest.approx(known)
    root = math.sqrt(2 / 5 * math.log(3 * 25**2 * math.pi**2 / 6 / 0.1))
    assert beta(3, 25) == pytest.approx(root**2)
    at_known = naive_posterior(fitted, values, known, known)
    drawn = naive_posterior(fitted, values, known, fitted.draw(POINTS, 7))
    upper = min(m + root * s for m, s in zip(*at_known, strict=True))
    lower = min(m - root * s for part in (at_known, drawn) for m, s in zip(*part, strict=True))
    assert regret_bound(trials, SPACE, 7) == pytest.approx(deviation * (upper - lower), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_above_the_regret_there_is_and_falls(quiet_optuna: None, seed: int) -> None:
    bounds = []
    for count in (FEWEST, 60, 120):
        trials = tried(count, noise=0.01, seed=seed)
        regret = min(error(**one.params) for one in trials) - 3.0
        bounds.append(regret_bound(trials, SPACE, 0))
        assert bounds[-1] >= regret - 0.02
    assert bounds[2] < bounds[0] / 2


def test_the_same_trials_give_the_same_bound_in_any_unit(quiet_optuna: None) -> None:
    trials = tried(30, noise=0.01)
    again = regret_bound(trials, SPACE, 3)
    assert regret_bound(trials, SPACE, 3) == again
    tenfold = [
        create_trial(params=one.params, distributions=SPACE, value=10 * (one.value or 0.0))
        for one in trials
    ]
    assert regret_bound(tenfold, SPACE, 3) == pytest.approx(10 * again, rel=1e-3)
