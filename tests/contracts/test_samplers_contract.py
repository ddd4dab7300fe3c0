"""Every sampler: seeded, inside the space, and at ease with several trials at once."""

from __future__ import annotations

import math

import optuna
import pytest

from hpo.samplers import SAMPLERS, make_sampler
from hpo.search_space import SearchSpace, built_in_search_space

SPACE = built_in_search_space("stcd").with_fixed({"schedule": "cosine"})

every_sampler = pytest.mark.parametrize("name", SAMPLERS)


@pytest.fixture(autouse=True)
def quiet():
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(level)


def error_of(point: dict[str, object]) -> float:
    """A smooth valley with its floor at learning rate 1e-3 and alpha1 0.7."""
    learning_rate, alpha1 = float(point["learning_rate"]), float(point["alpha1"])
    return (math.log10(learning_rate) + 3) ** 2 + (alpha1 - 0.7) ** 2


def search(name: str, seed: int, trials: int, at_once: int, space: SearchSpace = SPACE):
    """Ask for ``at_once`` trials before telling the oldest; return the points in asked order."""
    study = optuna.create_study(sampler=make_sampler(name, seed))
    for point in space.points():
        study.enqueue_trial(point)
    running: list[optuna.Trial] = []
    points = []
    for _ in range(trials):
        running.append(study.ask(space.distributions()))
        points.append(running[-1].params)
        if len(running) == at_once:
            oldest = running.pop(0)
            study.tell(oldest, error_of(oldest.params))
    for trial in running:
        study.tell(trial, error_of(trial.params))
    assert len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) == trials
    return points


@every_sampler
@pytest.mark.parametrize("at_once", [1, 4])
def test_the_same_seed_asks_for_the_same_points(name: str, at_once: int) -> None:
    first = search(name, 5, 20, at_once)
    assert first == search(name, 5, 20, at_once)
    assert first != search(name, 6, 20, at_once)


@every_sampler
def test_it_starts_with_the_first_points_and_stays_inside(name: str) -> None:
    points = search(name, 5, 25, 4)
    assert points[: len(SPACE.points())] == SPACE.points()
    for point in points:
        assert point.keys() == SPACE.parameters.keys()
        for key, value in point.items():
            assert SPACE.parameters[key].contains(value), (key, value)
    assert {point["schedule"] for point in points} == {"cosine"}


@every_sampler
def test_it_never_asks_twice_for_the_same_point_while_trials_run(name: str) -> None:
    points = search(name, 5, 25, 4)
    assert len({tuple(sorted(point.items())) for point in points}) == len(points)


@every_sampler
def test_it_goes_on_from_trials_it_did_not_ask_for(name: str) -> None:
    study = optuna.create_study(sampler=make_sampler(name, 5))
    for point in search("random", 1, 12, 1):
        told = optuna.create_trial(
            params=point, distributions=SPACE.distributions(), value=error_of(point)
        )
        study.add_trial(told)
    study.add_trial(optuna.create_trial(state=optuna.trial.TrialState.FAIL))
    asked = study.ask(SPACE.distributions()).params
    assert all(SPACE.parameters[key].contains(value) for key, value in asked.items())
