"""Generations of students on a real Ray: each confirmed, then it teaches, also over a stop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from core.errors import ConfigError, StorageError
from core.training.teacher_files import teacher_folder
from core.training.teachers import open_teacher
from hpo.cli.main import app
from hpo.planning.places import Places
from hpo.records.sweep_folder import find_sweep
from hpo.records.trial_records import read_records
from tests.integration.sweeps import local_ray

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SPACE = """
method: ord
parameters:
  batch_size: {type: categorical, choices: [50]}
  blocks: {type: int, low: 1, high: 2}
  alpha1: {type: float, low: 0, high: 1}
  learning_rate: {type: float, low: 0.001, high: 0.02, log: true}
first_points:
  - {source: one block, values: {batch_size: 50, blocks: 1, alpha1: 0.2, learning_rate: 0.01}}
  - {source: two, values: {batch_size: 50, blocks: 2, alpha1: 0.2, learning_rate: 0.01}}
"""


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One Ray for all sweeps of this file."""
    with local_ray():
        yield


@pytest.fixture(scope="module")
def asked(places: Places, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    space = tmp_path_factory.mktemp("space") / "ord.yaml"
    space.write_text(SPACE)
    assert run("teacher", "small", "--epochs", "1", *where(places)).exit_code == 0
    return [
        *("sweep", "ord", "--dataset", "small", "--name", "grown", "--space", str(space)),
        *("--trials", "2", "--epochs", "1", "--seed", "3", *where(places)),
    ]


def where(places: Places) -> list[str]:
    return ["--data", str(places.data), "--storage", str(places.storage)]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=True)


@pytest.fixture(scope="module")
def grown(asked: list[str], places: Places) -> Path:
    """First one generation, as if the command had been stopped, then two."""
    first = run(*asked)
    assert first.exit_code == 0, first.output
    both = run(*asked, "--generations", "2", "--format", "json")
    assert both.exit_code == 0, both.output
    answers = json.loads(both.stdout)
    assert [answer["sweep"] for answer in answers] == ["grown", "grown-2"]
    assert all(len(answer["seeds"]) == 5 for answer in answers)
    return places.storage.resolve()


def test_the_first_generation_is_confirmed_and_teaches_the_second(grown: Path) -> None:
    first, second = find_sweep(grown, "grown"), find_sweep(grown, "grown-2")
    assert len(read_records(first.results)) == 2
    assert len(read_records(first.confirmation.results)) == 5
    plan = second.read_plan()
    assert plan.config.teachers == "best:grown:5"
    teacher = open_teacher(teacher_folder(grown, plan.teacher_fingerprint or ""))
    assert len(teacher.configs) == 5
    assert plan.baselines["teacher"] == teacher.metrics
    records = read_records(second.results)
    assert {record.teacher_fingerprint for record in records} == {teacher.fingerprint}
    assert {record.status for record in records} == {"finished"}
    assert len(read_records(second.confirmation.results)) == 5


def test_the_same_command_trains_nothing_again(grown: Path, asked: list[str]) -> None:
    ledgers = [find_sweep(grown, name).ledger_file for name in ("grown", "grown-2")]
    before = [ledger.read_bytes() for ledger in ledgers]
    records = [len(read_records(find_sweep(grown, name).results)) for name in ("grown", "grown-2")]
    again = run(*asked, "--generations", "2")
    assert again.exit_code == 0
    assert "val_mae of each generation over fresh seeds" in again.stdout
    assert [ledger.read_bytes() for ledger in ledgers] == before
    assert records == [2, 2]


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        (["--generations", "0"], ConfigError, "at least 1, got 0"),
        (["--generations", "2", "--time-budget", "1h"], ConfigError, "leave it out"),
        (["--generations", "2", "--sampler", "random"], StorageError, "has other settings"),
    ],
)
def test_what_cannot_go_on_is_refused(
    grown: Path, asked: list[str], more: list[str], error: type[Exception], said: str
) -> None:
    answer = run(*asked, *more)
    assert isinstance(answer.exception, error)
    assert said in str(answer.exception)


def test_a_method_without_a_teacher_has_no_generations(places: Places) -> None:
    answer = run("sweep", "none", "--dataset", "small", "--generations", "2", *where(places))
    assert isinstance(answer.exception, ConfigError)
    assert "learns from teachers, got none" in str(answer.exception)
