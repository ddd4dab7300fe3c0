from __future__ import annotations

import inspect
import re

import pytest

from core import errors
from core.errors import (
    ConfigError,
    TrainingDivergedError,
    UnknownNameError,
    UserError,
    options_named,
)


def error_classes() -> dict[str, type[Exception]]:
    members = inspect.getmembers(errors, inspect.isclass)
    return {name: one for name, one in members if one.__module__ == errors.__name__}


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = re.findall(r"^ {4}(├── |└── )?(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    classes = error_classes()
    assert {name for _, name in drawn} == set(classes)
    for branch, name in drawn:
        if branch:
            assert classes[name].__bases__ == (UserError,)


def test_callers_may_catch_by_what_python_knows():
    assert issubclass(UserError, ValueError)
    assert issubclass(TrainingDivergedError, ArithmeticError)
    assert not issubclass(TrainingDivergedError, UserError)


@pytest.mark.parametrize("name", sorted(error_classes()))
def test_every_error_is_documented(name):
    assert error_classes()[name].__doc__


@pytest.mark.parametrize(
    ("name", "known", "text"),
    [
        ("std", ["scd", "stcd", "none"], r"^unknown method 'std'; did you mean 'stcd'\? \(known:"),
        ("stcd ", ["ord", "stcd"], r"did you mean 'stcd'\? \(known: ord, stcd\)$"),
        ("zzz", ["b", "a"], r"^unknown method 'zzz' \(known: a, b\)$"),
        ("zzz", [], r"^unknown method 'zzz' \(known: there is none yet\)$"),
    ],
)
def test_an_unknown_name_comes_with_the_nearest_and_all(name, known, text):
    with pytest.raises(UnknownNameError, match=text):
        raise UnknownNameError("method", name, iter(known))


@pytest.fixture
def from_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a script, where no command line runs."""
    monkeypatch.setattr("core.errors._options_named", False)


@pytest.mark.usefixtures("from_python")
@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("--max-parameters must be at least 1", "max_parameters must be at least 1"),
        ("lower --cpus-per-trial or --gpus-per-trial", "lower cpus_per_trial or gpus_per_trial"),
        ("by --set alpha1=0.5, or --top", "by set alpha1=0.5, or top"),
        ("train it by `hpo trial first 2 --rerun`", "train it by `hpo trial first 2 --rerun`"),
        ("a range -- or a day--night", "a range -- or a day--night"),
    ],
)
def test_python_reads_of_arguments(text: str, read: str) -> None:
    assert str(ConfigError(text)) == read
    with options_named():
        assert str(ConfigError(text)) == text
    assert str(ConfigError(text)) == read
