"""Every sampler: seeded, inside the space, and at ease with several trials at once."""

from __future__ import annotations

import math
import warnings
from statistics import median

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState

from core.errors import ConfigError
from hpo.search.samplers import SAMPLERS, check_sampler, generation_attributes, make_sampler
from hpo.space.search_space import SearchSpace, built_in_search_space

SPACE = built_in_search_space("stcd", "paper").with_fixed({"schedule": "cosine"})

SLOW = {"gp"}
"""A second per question: asked just enough to leave the random start behind."""


def trials_for(name: str) -> int:
    return 13 if name in SLOW else 25


every_sampler = pytest.mark.parametrize("name", SAMPLERS)


@pytest.fixture(autouse=True)
def quiet():
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(level)


def error_of(point: dict[str, object]) -> float:
    """A smooth valley with its floor near a corner: learning rate 2e-4 and alpha1 0.95."""
    learning_rate, alpha1 = float(point["learning_rate"]), float(point["alpha1"])
    return (math.log10(learning_rate) + 3.7) ** 2 + 4 * (alpha1 - 0.95) ** 2


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
    assert len(study.get_trials(states=[TrialState.COMPLETE])) == trials
    return points


@every_sampler
@pytest.mark.parametrize("at_once", [1, 4])
def test_the_same_seed_asks_for_the_same_points(name: str, at_once: int) -> None:
    trials = trials_for(name)
    first = search(name, 5, trials, at_once)
    assert first == search(name, 5, trials, at_once)
    assert first[:11] != search(name, 6, 11, at_once)


@every_sampler
def test_it_starts_with_the_first_points_and_stays_inside(name: str) -> None:
    points = search(name, 5, trials_for(name), 4)
    assert points[: len(SPACE.points())] == SPACE.points()
    for point in points:
        assert point.keys() == SPACE.parameters.keys()
        for key, value in point.items():
            assert SPACE.parameters[key].contains(value), (key, value)
    assert {point["schedule"] for point in points} == {"cosine"}


# Crossing two parents without a mutation may give a parent again; then the searcher asks anew.
@pytest.mark.parametrize("name", sorted(SAMPLERS.keys() - {"nsga2"}))
def test_it_never_asks_twice_for_the_same_point_while_trials_run(name: str) -> None:
    points = search(name, 5, trials_for(name), 4)
    assert len({tuple(sorted(point.items())) for point in points}) == len(points)


def told(points: list[dict[str, object]], name: str) -> list[optuna.trial.FrozenTrial]:
    """Finished trials as a rebuilt study holds them."""
    return [
        optuna.create_trial(
            params=point,
            distributions=SPACE.distributions(),
            value=error_of(point),
            system_attrs=generation_attributes(name, index),
        )
        for index, point in enumerate(points)
    ]


@every_sampler
def test_it_goes_on_from_trials_it_did_not_ask_for(name: str) -> None:
    study = optuna.create_study(sampler=make_sampler(name, 5))
    study.add_trials(told(search("random", 1, 12, 1), name))
    study.add_trial(optuna.create_trial(state=TrialState.FAIL))
    pruned = {"params": SPACE.points()[0], "distributions": SPACE.distributions()}
    values = {1: 3.0, 2: 2.5}
    study.add_trial(
        optuna.create_trial(state=TrialState.PRUNED, intermediate_values=values, **pruned)
    )
    for _ in range(3):
        asked = study.ask(SPACE.distributions())
        assert all(SPACE.parameters[key].contains(value) for key, value in asked.params.items())
        asked.report(2.0, step=1)
        study.tell(asked, state=TrialState.PRUNED)
        lost = study.ask(SPACE.distributions())
        study.tell(lost, state=TrialState.FAIL)


LEARNING = sorted(SAMPLERS.keys() - {"random", "qmc"})


@pytest.mark.parametrize("name", LEARNING)
def test_what_learns_still_knows_after_a_rebuild_where_the_valley_is(name: str) -> None:
    """Asked anew from sixty told trials it comes nearer than from none."""
    study = optuna.create_study(sampler=make_sampler(name, 7))
    study.add_trials(told(search("tpe" if name in SLOW else name, 5, 60, 1), name))
    rebuilt = []
    for _ in range(3 if name in SLOW else 20):
        asked = study.ask(SPACE.distributions())
        rebuilt.append(error_of(asked.params))
        study.tell(asked, rebuilt[-1])
    fresh = [error_of(point) for point in search("random" if name in SLOW else name, 7, 22, 1)[2:]]
    assert median(rebuilt) < median(fresh)


@every_sampler
@pytest.mark.parametrize("at_once", [1, 4])
def test_several_objectives_are_taken_or_refused(name: str, at_once: int) -> None:
    if not SAMPLERS[name].several_objectives:
        with pytest.raises(ConfigError, match=f"sampler {name} takes one objective, got 2; choose"):
            check_sampler(name, objectives=2)
        return
    check_sampler(name, objectives=2)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=make_sampler(name, 5))
    running: list[optuna.Trial] = []
    for _ in range(trials_for(name)):
        running.append(study.ask(SPACE.distributions()))
        if len(running) == at_once:
            oldest = running.pop(0)
            study.tell(oldest, [error_of(oldest.params), -oldest.params["learning_rate"]])
    assert len(study.best_trials) > 1


INTEGERS = {f"width{index}": IntDistribution(1, 32, log=True) for index in range(4)}
MOST = 20


def sum_of(params: dict[str, int]) -> int:
    return sum(params.values())


@every_sampler
def test_constraints_are_learned_or_refused(name: str) -> None:
    """Of the untrained, told as infeasible, it asks for fewer and fewer."""
    if not SAMPLERS[name].constraints:
        with pytest.raises(ConfigError, match=f"sampler {name} takes no constraints.*; choose tpe"):
            check_sampler(name, constrained=True)
        return
    check_sampler(name, constrained=True)
    study = optuna.create_study(sampler=make_sampler(name, 5))
    fits, trials = [], 30 if name in SLOW else 80
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        make_sampler(name, 5)  # with the warnings that it silences
        for _ in range(trials):
            trial = study.ask(INTEGERS)
            over = sum_of(trial.params) - MOST
            trial.set_constraint("parameters", over)
            study.tell(trial, math.inf if over > 0 else -float(sum_of(trial.params)))
            fits.append(over <= 0)
    early, late = fits[: trials // 4], fits[-trials // 2 :]
    assert sum(late) / len(late) > sum(early) / len(early)
    assert study.best_value <= -MOST + 2


ONE = {"type": "categorical", "choices": [16]}
NARROW = {
    "one value": {"batch_size": ONE},
    "one name": {"optimizer": {"type": "categorical", "choices": ["adam"]}},
    "one of two": {"batch_size": ONE, "learning_rate": {"type": "float", "low": 1e-3, "high": 1}},
    "two numbers": {"batch_size": {"type": "int", "low": 1, "high": 2}},
    "neighbours": {"learning_rate": {"type": "float", "low": 1.0, "high": math.nextafter(1.0, 2)}},
    "one step": {"batch_size": {"type": "int", "low": 1, "high": 4, "step": 3}},
    "everything": {"learning_rate": {"type": "float", "low": 1e-300, "high": 1.7e308}},
}


@every_sampler
@pytest.mark.parametrize("kind", NARROW)
def test_a_space_of_one_value_or_hardly_more_is_searched(name: str, kind: str) -> None:
    space = SearchSpace.from_json({"method": "none", "parameters": NARROW[kind]})
    study = optuna.create_study(sampler=make_sampler(name, 5))
    for error in range(trials_for(name)):
        asked = study.ask(space.distributions())
        assert asked.params.keys() == space.parameters.keys()
        assert all(space.parameters[key].contains(value) for key, value in asked.params.items())
        study.tell(asked, float(error % 5))


@every_sampler
def test_it_is_documented(name: str) -> None:
    assert SAMPLERS[name].make.__doc__
