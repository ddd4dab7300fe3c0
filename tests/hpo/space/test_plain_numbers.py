"""Numbers are read by one rule, in a search space, by ``--set`` and by options."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from core.errors import ConfigError
from hpo.cli.main import run
from hpo.cli.sweeps.sweep import find_space
from hpo.space.plain_numbers import read_decimal, read_whole
from hpo.space.search_space import SearchSpace, load_search_space
from hpo.space.strict_yaml import load_yaml

SPACE = """
method: none
parameters:
  batch_size: {{type: categorical, choices: [{batch}]}}
  learning_rate: {{type: categorical, choices: [{rate}]}}
"""
WHOLE = {"16": 16, "+16": 16, "1": 1}
DECIMAL = {"0.001": 1e-3, ".001": 1e-3, "1e-3": 1e-3, "1E-3": 1e-3, "1.e-3": 1e-3, "2": 2.0}
NO_NUMBERS = [
    "1_6",
    "\uff11\uff16",
    "010",
    "0x10",
    "0b1",
    "1:30",
    "1,6",
    "\u0661\u0666",
    "--16",
    "\xb2",
]
"""Read as 16, 8, 16, 1 or 90 by Python or YAML, or not at all."""


def from_yaml(folder: Path, batch: str = "16", rate: str = "0.01") -> SearchSpace:
    path = folder / "space.yaml"
    path.write_text(SPACE.format(batch=batch, rate=rate), encoding="utf-8")
    return load_search_space(path)


def held(*settings: str) -> SearchSpace:
    return find_space("none", None, list(settings), "direct")


@pytest.mark.parametrize("text", WHOLE)
def test_a_whole_number_is_the_same_everywhere(tmp_path: Path, text: str) -> None:
    assert read_whole(text) == WHOLE[text]
    assert from_yaml(tmp_path, batch=text).values_of("batch_size") == (WHOLE[text],)
    assert load_yaml(f"!!int {text}", "text") == WHOLE[text]


@pytest.mark.parametrize("text", DECIMAL)
def test_a_number_is_the_same_everywhere(tmp_path: Path, text: str) -> None:
    assert read_decimal(text) == DECIMAL[text]
    space = from_yaml(tmp_path, rate=text)
    assert space.values_of("learning_rate") == (DECIMAL[text],)
    assert space.with_fixed({"learning_rate": text}) == space


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_plain_number_is_refused_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    said = rf"must be a whole number of at least 1, got {re.escape(repr(text))}"
    if text != "1,6":  # two choices of a list
        with pytest.raises(ConfigError, match=said):
            from_yaml(tmp_path, batch=text)
    with pytest.raises(ConfigError, match=said):
        held(f"batch_size={text}")
    assert run(["sweep", "none", "--dataset", "small", "--trials", text]) == 2
    assert "'--trials': " in capsys.readouterr().err


@pytest.mark.parametrize("text", ["inf", "nan", ".inf", "-.nan", "1e999", "1_0.5", "9" * 5000])
def test_a_number_has_an_end(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"must be a number above 0, got"):
        from_yaml(tmp_path, rate=text)
    with pytest.raises(ConfigError, match=r"must be a number above 0, got"):
        held(f"learning_rate={text}")


def test_a_refused_number_says_how_to_write_it() -> None:
    with pytest.raises(ConfigError, match=r"write numbers as 16, 0\.001 or 1e-4, with the digits"):
        held("batch_size=1_6")
    for plain in ("many", "0", "-16", "1.5"):
        with pytest.raises(ConfigError, match=rf"got '{re.escape(plain)}'$"):
            held(f"batch_size={plain}")


def test_a_setting_is_held_once() -> None:
    line = "one value, got batch_size=16 and batch_size=32; keep one"
    with pytest.raises(ConfigError, match=line):
        held("batch_size=16", "batch_size=32")
    with pytest.raises(ConfigError, match="keep one"):
        held("batch_size=16", "batch_size=16")


def test_a_tag_does_not_make_a_number() -> None:
    with pytest.raises(ConfigError, match="text must be valid YAML, but 1_6"):
        load_yaml("!!int 1_6", "text")


def test_dates_and_yes_are_no_numbers() -> None:
    assert load_yaml("[2024-01-02, yes, null, 1e3]", "text") == ["2024-01-02", True, None, 1000.0]


def test_an_empty_document_is_nothing() -> None:
    assert load_yaml("", "text") is None


def test_a_number_beyond_all_is_infinite() -> None:
    assert math.isinf(read_decimal("1e999"))
