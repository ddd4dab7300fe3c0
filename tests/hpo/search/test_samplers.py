"""Samplers by name, and that the learning one learns."""

from __future__ import annotations

from statistics import median

import optuna
import pytest
from optuna.distributions import FloatDistribution

from core.errors import UnknownNameError
from hpo.search.samplers import make_sampler


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown sampler 'tpee'; did you mean 'tpe'\?"):
        make_sampler("tpee", 0)


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
