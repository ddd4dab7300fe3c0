"""Samplers by name, and that the learning one learns."""

from __future__ import annotations

from statistics import median

import optuna
import pytest
from optuna.distributions import FloatDistribution

from core.errors import UnknownNameError
from hpo.search.samplers import (
    MOST_TRIALS_OF_GP,
    SAMPLERS,
    check_sampler,
    choose_sampler,
    make_sampler,
)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown sampler 'tpee'; did you mean 'tpe'\?"):
        make_sampler("tpee", 0)


@pytest.mark.parametrize(
    ("trials", "objectives", "sampler", "why"),
    [
        (20, 1, "gp", "needs the fewest trials, and there are 20"),
        (MOST_TRIALS_OF_GP, 1, "gp", "needs the fewest trials"),
        (MOST_TRIALS_OF_GP + 1, 1, "tpe", "gp takes long for more than 100 trials"),
        (20, 2, "tpe", "several objectives"),
    ],
)
def test_auto_chooses_by_trials_and_objectives_and_says_why(
    trials: int, objectives: int, sampler: str, why: str
) -> None:
    chosen, reason = choose_sampler(trials, objectives)
    assert (chosen, why in reason) == (sampler, True)
    assert chosen in SAMPLERS
    check_sampler(chosen, objectives=objectives, constrained=True)


def test_tpe_comes_nearer_than_random_in_the_median_of_seeds() -> None:
    assert median(distances("tpe")) < median(distances("random")) / 2


def distances(name: str) -> list[float]:
    return [distance(name, seed) for seed in range(7)]


def distance(name: str, seed: int) -> float:
    """How near 40 trials come to the floor of a valley in three dimensions."""
    axes = {axis: FloatDistribution(-1, 1) for axis in "xyz"}
    study = optuna.create_study(sampler=make_sampler(name, seed))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for _ in range(40):
        trial = study.ask(axes)
        study.tell(trial, sum((value - 0.3) ** 2 for value in trial.params.values()))
    return study.best_value
