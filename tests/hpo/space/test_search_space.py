"""Search space files: what is read, what is refused and with which words, and fixed settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from core.errors import ConfigError, UnknownNameError
from hpo.space.parameters import Setting
from hpo.space.search_space import SearchSpace, built_in_search_space, load_search_space

GOOD = """
method: ord
parameters:
  alpha1: {type: float, low: 0, high: 1}
  batch_size: {type: categorical, choices: [16, 50]}
  learning_rate: {type: float, low: 1e-4, high: 3e-2, log: true}
  optimizer: {type: categorical, choices: [rmsprop, adam]}
  windows_per_segment: {type: int, low: 1, high: 9, step: 2}
first_points:
  - source: a guess
    values: {alpha1: 0.5, batch_size: 50, learning_rate: 1e-3, optimizer: adam,
             windows_per_segment: 3}
  - source: another guess
    values: {alpha1: 0.5, batch_size: 16, learning_rate: 1e-3, optimizer: adam,
             windows_per_segment: 3}
"""


@pytest.fixture
def read(tmp_path: Path):
    def read_text(text: str) -> SearchSpace:
        path = tmp_path / "space.yaml"
        path.write_text(text, encoding="utf-8")
        return load_search_space(path)

    return read_text


@pytest.fixture
def good(read) -> SearchSpace:
    return read(GOOD)


def changed(**parameters: object) -> str:
    """GOOD without first points, some parameters replaced."""
    document = yaml.safe_load(GOOD)
    del document["first_points"]
    document["parameters"].update(parameters)
    return yaml.safe_dump(document)


def with_point(**values: object) -> str:
    """GOOD with some values of its first point replaced; None removes one."""
    document = yaml.safe_load(GOOD)
    merged = {**document["first_points"][0]["values"], **values}
    kept = {name: value for name, value in merged.items() if value is not None}
    document["first_points"][0]["values"] = kept
    return yaml.safe_dump(document)


def test_distributions_are_optunas(good: SearchSpace) -> None:
    found = good.distributions()
    assert found == {
        "alpha1": FloatDistribution(0.0, 1.0),
        "batch_size": CategoricalDistribution((16, 50)),
        "learning_rate": FloatDistribution(1e-4, 3e-2, log=True),
        "optimizer": CategoricalDistribution(("rmsprop", "adam")),
        "windows_per_segment": IntDistribution(1, 9, step=2),
    }


def test_numbers_with_exponents_are_numbers_although_pyyaml_reads_text(good: SearchSpace) -> None:
    assert yaml.safe_load("1e-4") == "1e-4"
    assert good.points()[0]["learning_rate"] == 1e-3
    assert good.parameters["learning_rate"].contains(1e-4)


def test_points_keep_order_and_are_copies(good: SearchSpace) -> None:
    points = good.points()
    assert [point["batch_size"] for point in points] == [50, 16]
    points[0]["batch_size"] = 99
    assert good.points()[0]["batch_size"] == 50
    assert [point.source for point in good.first_points] == ["a guess", "another guess"]


def test_first_points_may_be_left_out(read) -> None:
    assert read(changed()).points() == []


def test_fingerprint_sees_what_matters_and_nothing_else(read, good: SearchSpace) -> None:
    document = yaml.safe_load(GOOD)
    document["parameters"] = dict(reversed(document["parameters"].items()))
    document["first_points"][0]["source"] = "elsewhere"
    same = read("# a comment\n" + yaml.safe_dump(document, sort_keys=False))
    assert same.fingerprint == good.fingerprint
    assert list(same.parameters) == list(reversed(good.parameters))
    assert list(same.distributions()) == sorted(good.parameters), "a seed draws in this order"
    others = [
        GOOD.replace("high: 1}", "high: 0.9}"),
        GOOD.replace("[16, 50]", "[16, 50, 60]"),
        GOOD.replace("alpha1: 0.5", "alpha1: 0.25", 1),
        GOOD.replace(", log: true", ""),
        changed(),
    ]
    assert len({good.fingerprint, *(read(text).fingerprint for text in others)}) == 6


RANGE = {"type": "float", "low": 0, "high": 1}
REFUSED_PARAMETERS = {
    "no mapping": ({"alpha1": 0.5}, r"parameters\.alpha1: must be a mapping with the key 'type'"),
    "type": (
        {"alpha1": {**RANGE, "type": "uniform"}},
        r"parameters\.alpha1\.type: must be float or categorical, got 'uniform'",
    ),
    "a name has no range": (
        {"optimizer": RANGE},
        r"parameters\.optimizer\.type: must be categorical, got 'float'",
    ),
    "whole numbers": (
        {"batch_size": RANGE},
        r"parameters\.batch_size\.type: must be int or categorical, got 'float'",
    ),
    "outside the rule": (
        {"alpha1": {**RANGE, "low": -0.5}},
        r"parameters\.alpha1\.low: must be a number from 0 to 1, got -0\.5",
    ),
    "at the open end": (
        {"learning_rate": RANGE},
        r"parameters\.learning_rate\.low: must be a number above 0, got 0",
    ),
    "fraction": (
        {"batch_size": {"type": "int", "low": 1.5, "high": 8}},
        r"parameters\.batch_size\.low: must be a whole number of at least 1, got 1\.5",
    ),
    "text": (
        {"alpha1": {**RANGE, "high": "one"}},
        r"parameters\.alpha1\.high: must be a number from 0 to 1, got 'one'",
    ),
    "not a number": ({"alpha1": {**RANGE, "high": float("nan")}}, r"alpha1\.high: .* got '\.nan'"),
    "infinite": (
        {"learning_rate": {"type": "float", "low": 1e-4, "high": float("inf")}},
        r"parameters\.learning_rate\.high: must be a number above 0, got '\.inf'",
    ),
    "reversed": (
        {"alpha1": {"type": "float", "low": 0.9, "high": 0.1}},
        r"parameters\.alpha1\.high: must be above low = 0\.9, got 0\.1",
    ),
    "endless range": (
        {"batch_size": {"type": "int", "low": 1, "high": 10**9}},
        r"batch_size\.high: must leave at most 1,000,000 whole numbers from 1, got 1e\+09; lower",
    ),
    "empty range": ({"alpha1": {**RANGE, "high": 0}}, r"one value alone is type: categorical"),
    "missing end": ({"alpha1": {"type": "float", "low": 0}}, r"the key 'high' is missing; add it"),
    "unknown key": ({"alpha1": {**RANGE, "hihg": 1}}, r"unknown key 'hihg'; did you mean 'high'"),
    "choices of a range": ({"alpha1": {**RANGE, "choices": [1]}}, r"unknown key 'choices'"),
    "log at zero": (
        {"alpha1": {**RANGE, "log": True}},
        r"parameters\.alpha1\.low: must be above 0 where log is true, got 0",
    ),
    "log as text": (
        {"alpha1": {**RANGE, "log": "true"}},
        r"log: must be true or false, got 'true'",
    ),
    "log and step": (
        {"learning_rate": {"type": "float", "low": 0.1, "high": 0.2, "log": True, "step": 0.1}},
        r"step: must not stand beside log: true",
    ),
    "step": (
        {"alpha1": {**RANGE, "step": 0.3}},
        r"parameters\.alpha1\.step: must lead from 0 to 1 in whole steps, got 0\.3",
    ),
    "step of zero": ({"alpha1": {**RANGE, "step": 0}}, r"step: must be a number above 0, got 0"),
    "no choices": (
        {"batch_size": {"type": "categorical", "choices": []}},
        r"parameters\.batch_size\.choices: must be a list of values, got \[\]",
    ),
    "choice twice": (
        {"batch_size": {"type": "categorical", "choices": [16, "16"]}},
        r"parameters\.batch_size\.choices\.1: 16 stands twice; keep one",
    ),
    "unknown choice": (
        {"optimizer": {"type": "categorical", "choices": ["adam", "sgd"]}},
        r"parameters\.optimizer\.choices\.1: must be one of rmsprop, adam, got 'sgd'",
    ),
    "boolean choice": (
        {"optimizer": {"type": "categorical", "choices": [False]}},
        r"got False; YAML takes yes, no, on and off for true and false: put the word in quotes",
    ),
    "boolean number": (
        {"batch_size": {"type": "categorical", "choices": [True]}},
        r"batch_size\.choices\.0: must be a whole number of at least 1, got True; YAML takes",
    ),
    "list as choice": ({"optimizer": {"type": "categorical", "choices": [[]]}}, r"got \[\]"),
    "foreign weight": ({"beta": RANGE}, r"parameters\.beta: unknown setting 'beta'"),
    "misspelt": ({"learning_rat": RANGE}, r"did you mean 'learning_rate'\?"),
}


@pytest.mark.parametrize("case", REFUSED_PARAMETERS)
def test_refused_parameters(read, case: str) -> None:
    parameters, text = REFUSED_PARAMETERS[case]
    with pytest.raises(ConfigError, match=text):
        read(changed(**parameters))


REFUSED_POINTS: dict[str, tuple[dict[str, Any], str]] = {
    "outside": ({"alpha1": 2}, r"first_points\.0\.values\.alpha1: must be a number from 0 to 1"),
    "outside the range": (
        {"learning_rate": 0.5},
        r"first_points\.0\.values\.learning_rate: must be between 0\.0001 and 0\.03, got 0\.5",
    ),
    "beside the grid": (
        {"windows_per_segment": 4},
        r"windows_per_segment: must be between 1 and 9 in steps of 2, got 4",
    ),
    "no choice": ({"batch_size": 32}, r"values\.batch_size: must be one of 16, 50, got 32"),
    "missing": ({"alpha1": None}, r"first_points\.0\.values: the key 'alpha1' is missing"),
    "unknown": ({"beta": 0.5}, r"first_points\.0\.values: unknown key 'beta'"),
    "repeated": ({"batch_size": 16}, r"first_points: two of them hold the same values; keep one"),
}


@pytest.mark.parametrize("case", REFUSED_POINTS)
def test_refused_first_points(read, case: str) -> None:
    values, text = REFUSED_POINTS[case]
    with pytest.raises(ConfigError, match=text):
        read(with_point(**values))


REFUSED_FILES = {
    "empty": ("", r"must hold the keys method, parameters and first_points, got None"),
    "a list": ("- method", r"must hold the keys .* got \['method'\]"),
    "no YAML": ("method: [", r"must be valid YAML, but .*line 1, column 10"),
    "no date": ("method: !!timestamp 2024-13-45", r"must be valid YAML, but month must be"),
    "list as key": ("? [a]\n: 1\n? [a]\n: 2", r"must be valid YAML, but .*unhashable"),
    "top key": (
        GOOD + "first_point: []",
        r"unknown key 'first_point'; did you mean 'first_points'",
    ),
    "no method": (GOOD.replace("method: ord", ""), r": method: must name a method, got None"),
    "boolean method": (GOOD.replace("ord", "off", 1), r"method: must name a method, got False"),
    "wrong method": (
        GOOD.replace("ord", "odr", 1),
        r"space\.yaml: method: unknown method 'odr'; did you mean 'ord'\?",
    ),
    "no parameters": ("method: ord", r"parameters: must map at least one setting .* got None"),
    "nothing varied": ("method: ord\nparameters: {}", r"parameters: must map .* got \{\}"),
    "points no list": (changed() + "first_points: {}", r"first_points: must be a list, got \{\}"),
    "point no mapping": (
        changed() + "first_points: [1]",
        r"first_points\.0: must be a mapping with",
    ),
    "no source": (GOOD.replace("a guess", "''"), r"first_points\.0\.source: must say where"),
    "source absent": (
        GOOD.replace("- source: a guess\n    values", "- values"),
        r"first_points\.0: the key 'source' is missing; add it",
    ),
    "key twice": (GOOD + "method: ord", r"line 16: the key 'method' stands twice; keep one"),
    "inner key twice": (
        GOOD.replace("low: 0,", "low: 0, low: 0.5,"),
        r"line 4: the key 'low' stands twice; keep one",
    ),
}


@pytest.mark.parametrize("case", REFUSED_FILES)
def test_refused_files(read, case: str) -> None:
    text, message = REFUSED_FILES[case]
    with pytest.raises(ConfigError, match=message) as caught:
        read(text)
    assert str(caught.value).startswith("search space ")
    assert "space.yaml" in str(caught.value)
    assert "\n" not in str(caught.value), "one mistake, one line"


def test_every_problem_is_reported_at_once(read) -> None:
    text = with_point(alpha1=2, batch_size=7).replace("low: 0\n", "lwo: 0\n") + "extra: 1\n"
    with pytest.raises(ConfigError) as caught:
        read(text)
    first, *lines = str(caught.value).splitlines()
    assert first.endswith("space.yaml has 5 problems:")
    paths = [line.strip().split(":")[0] for line in lines]
    assert paths == [
        "unknown key 'extra' (known",
        "parameters.alpha1",
        "parameters.alpha1",
        "first_points.0.values.alpha1",
        "first_points.0.values.batch_size",
    ]


def test_an_unknown_method_hides_no_other_problem(read) -> None:
    with pytest.raises(ConfigError, match=r"2 problems:\n  method: .*\n  parameters\.alpha1\.low"):
        read(changed(alpha1={**RANGE, "low": -1}).replace("method: ord", "method: odr"))


def test_an_alias_may_stand_for_a_value_again(read) -> None:
    text = GOOD.replace("alpha1: {", "alpha1: &unit {").replace("method: ord", "method: scd")
    space = read(text.split("first_points")[0] + "  alpha3: *unit\n")
    assert space.parameters["alpha3"] == space.parameters["alpha1"]


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml must be .*No such file.*--space"):
        load_search_space(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"method: \xe9")
    with pytest.raises(ConfigError, match=r"latin\.yaml must be a text file.*utf-8"):
        load_search_space(tmp_path / "latin.yaml")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["method", "parameters", "first_points", "alpha1", "type", "values", "low"]
                ),
                inner | st.sampled_from(["ord", "float", "categorical"]),
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_is_read_or_refused_with_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, document: object
) -> None:
    path = tmp_path_factory.mktemp("any") / "space.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    try:
        space = load_search_space(path)
    except ConfigError:
        return
    assert space.parameters


def test_fixed_settings_become_single_choices_and_change_the_first_points(
    good: SearchSpace,
) -> None:
    fixed = good.with_fixed({"batch_size": "50", "alpha1": 0.25})
    assert fixed.distributions()["batch_size"] == CategoricalDistribution((50,))
    assert fixed.distributions()["alpha1"] == CategoricalDistribution((0.25,))
    assert fixed.points() == [{**good.points()[0], "alpha1": 0.25}], "the two are now the same"
    assert fixed.first_points[0].source == "a guess"
    assert good.points()[0]["alpha1"] == 0.5, "the space itself stays as it was"
    assert fixed.fingerprint != good.fingerprint
    assert good.with_fixed({}) == good


def test_text_and_numbers_fix_the_same(good: SearchSpace) -> None:
    by_text = good.with_fixed({"learning_rate": "1e-3", "windows_per_segment": "3"})
    assert by_text == good.with_fixed({"learning_rate": 0.001, "windows_per_segment": 3})
    assert by_text.points()[0]["learning_rate"] == 0.001


def test_a_setting_that_the_space_does_not_vary_can_be_fixed(good: SearchSpace) -> None:
    fixed = good.with_fixed({"schedule": "cosine"})
    assert fixed.distributions()["schedule"] == CategoricalDistribution(("cosine",))
    assert {point["schedule"] for point in fixed.points()} == {"cosine"}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"alpha1": "2"}, r"fixed settings: alpha1: must be a number from 0 to 1, got '2'"),
        ({"learning_rate": 0.5}, r"learning_rate: must be between 0\.0001 and 0\.03, got 0\.5"),
        ({"batch_size": "32"}, r"batch_size: must be one of 16, 50, got 32"),
        ({"batch_size": "fifty"}, r"batch_size: must be a whole number of at least 1, got 'fifty'"),
        ({"batch_size": 50.0}, r"batch_size: must be a whole number of at least 1, got 50\.0"),
        ({"optimizer": "sgd"}, r"optimizer: must be one of rmsprop, adam, got 'sgd'"),
        ({"schedule": ""}, r"schedule: must be one of step, cosine, warmup, got ''"),
        ({"alpha1": 2, "batch_size": 1}, r"fixed settings has 2 problems:\n  alpha1: .*\n  batch"),
    ],
)
def test_refused_fixed_settings(good: SearchSpace, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        good.with_fixed(settings)


def test_unknown_fixed_setting_suggests_the_nearest(good: SearchSpace) -> None:
    with pytest.raises(UnknownNameError, match=r"setting 'batchsize'; did you mean 'batch_size'\?"):
        good.with_fixed({"batchsize": 50})
    with pytest.raises(UnknownNameError, match="unknown setting 'beta'"):
        good.with_fixed({"beta": 0.5})


@pytest.mark.parametrize("name", ["ordd", "../search_spaces/ord", "ord.yaml", ""])
def test_unknown_built_in_space(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown search space .*known: none, ord"):
        built_in_search_space(name)


@given(st.floats(0, 1), st.sampled_from(["{!r}", "{:e}", " {!r} "]))
def test_numbers_may_come_as_text(number: float, form: str) -> None:
    assert Setting("float", low=0, high=1).read(form.format(number)) == pytest.approx(number)


def test_importing_it_loads_neither_optuna_nor_torch() -> None:
    check = (
        "import sys, hpo.space.search_space; print({'optuna', 'torch', 'ray'} & set(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "set()"
