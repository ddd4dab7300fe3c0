"""Commands that cannot run: exit code 2, one line that says what to do, nothing written."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpo.cli.main import run
from tests.integration.sweeps import hpo

IN_A_PROCESS = (
    "method",
    "taken name",
    "wrong option",
    "share of no GPU",
    "too many CPUs",
    "no such cluster",
    "storage below a file",
    "set outside",
    "batch larger than data",
)
"""Run as a user runs them."""
ASKS_RAY = ("share of no GPU", "too many CPUs", "no such cluster")
"""These start Ray, which belongs into a process of its own."""
SWEEP = ("sweep", "none", "--dataset", "small", "--trials", "1", "--epochs", "1")


@dataclass(frozen=True)
class Mistake:
    """A command and the line that it must end with."""

    arguments: tuple[str, ...]
    message: str
    space: str = ""
    """Written to ``{space}``."""
    storage: str = "runs"


def sweep(*options: str) -> tuple[str, ...]:
    return (*SWEEP, *options)


def held(text: str, batch: str = "[16]") -> str:
    """A search space with one line of its own."""
    first = f"method: none\nparameters:\n  batch_size: {{type: categorical, choices: {batch}}}\n"
    return f"{first}  {text}\n"


MISTAKES = {
    "method": Mistake(
        ("sweep", "non", "--dataset", "small"), r"unknown method 'non'; did you mean 'none'\?"
    ),
    "pairs without SCD": Mistake(
        sweep("--pairs", "100"), r"pairs are for methods with SCD, scd and stcd, got 'none'; leave"
    ),
    "dataset": Mistake(
        ("sweep", "none", "--dataset", "smal"), r"unknown dataset 'smal'; did you mean 'small'\?"
    ),
    "sampler": Mistake(sweep("--sampler", "tpee"), r"sampler 'tpee'; did you mean 'tpe'\?"),
    "scheduler": Mistake(sweep("--scheduler", "ahsa"), r"'ahsa'; did you mean 'asha'\?"),
    "objective": Mistake(sweep("--objective", "val_mea"), r"'val_mea'; did you mean 'val_mae'\?"),
    "teacher": Mistake(
        ("sweep", "ord", "--dataset", "small", "--teacher", "feed"),
        r"unknown teacher of small 'feed' .*there is none yet",
    ),
    "unknown sweep": Mistake(("resume", "nigth"), r"sweep 'nigth'; did you mean 'night'\?"),
    "unknown status": Mistake(("status", "nigth"), r"sweep 'nigth'; did you mean 'night'\?"),
    "taken name": Mistake(
        sweep("--name", "night"), r"'night' exists in .*`hpo resume night` or choose another --name"
    ),
    "name outside": Mistake(sweep("--name", "../night"), r"a sweep name must .*got '\.\./night'"),
    "resume outside": Mistake(("resume", "../runs/night"), r"a sweep name must start"),
    "no trials": Mistake(sweep("--trials", "0"), r"--trials must be at least 1, got 0"),
    "trials in words": Mistake(
        sweep("--trials", "ten"), r"'--trials': .*valid integer.*hpo sweep --help"
    ),
    "wrong option": Mistake(
        sweep("--trails", "3"), r"No such option: --trails .*--trials.*hpo sweep --help"
    ),
    "no dataset": Mistake(("sweep", "none"), r"Missing option '--dataset'"),
    "wrong command": Mistake(("sweeep",), r"No such command 'sweeep'"),
    "wrong format": Mistake(("status", "--format", "xml"), r"'xml' is not one of"),
    "seed": Mistake(sweep("--seed", "-1"), r"--seed must be from 0 to 4294967295, got -1"),
    "teacher's seed": Mistake(
        ("teacher", "small", "--seed", "-1"), r"--seed must be from 0 to 4294967295, got -1"
    ),
    "share of no GPU": Mistake(
        sweep("--gpus-per-trial", "0.3"), r"needs 1 CPUs and 0\.3 GPUs, but .*--gpus-per-trial"
    ),
    "parts of GPUs": Mistake(sweep("--gpus-per-trial", "1.5"), r"at most 1 or a whole number"),
    "negative GPUs": Mistake(sweep("--gpus-per-trial", "-1"), r"must be auto, or not neg"),
    "no number of GPUs": Mistake(
        sweep("--gpus-per-trial", "nan"), r"takes a number or auto, got 'nan'"
    ),
    "words for GPUs": Mistake(sweep("--gpus-per-trial", "all"), r"takes a number or auto, got 'a"),
    "too many CPUs": Mistake(
        sweep("--cpus-per-trial", "999"), r"needs 999 CPUs and 0 GPUs, .*lower --cpus-per-trial"
    ),
    "no such cluster": Mistake(
        sweep("--address", "127.0.0.1:1"), r"--address must be that of a running Ray cluster"
    ),
    "storage below a file": Mistake(
        SWEEP, r"file/runs must be writable, but .*--storage", storage="file/runs"
    ),
    "set outside": Mistake(
        sweep("--form", "paper", "--set", "learning_rate=5"),
        r"fixed settings: learning_rate: must be between 0\.0001 and 0\.03, got 5\.0",
    ),
    "set unknown": Mistake(
        sweep("--set", "learning_rat=0.01"), r"'learning_rat'; did you mean 'learning_rate'\?"
    ),
    "set twice": Mistake(
        sweep("--set", "batch_size=16", "--set", "batch_size=32"),
        r"--set holds a setting at one value, got batch_size=16 and batch_size=32; keep one",
    ),
    "underscores": Mistake(
        sweep("--set", "batch_size=1_6"),
        r"batch_size: must be a whole number of at least 1, got '1_6'; write numbers as 16,",
    ),
    "set without a value": Mistake(sweep("--set", "batch_size"), r"--set takes KEY=VALUE, got"),
    "no such space": Mistake(sweep("--space", "nowhere.yaml"), r"nowhere\.yaml must be a text"),
    "unknown key": Mistake(
        sweep("--space", "{space}"),
        r"parameters\.learning_rate: unknown key 'lo'; did you mean 'low'\?",
        held("learning_rate: {type: float, low: 0.001, high: 0.01, lo: 3}"),
    ),
    "unknown setting": Mistake(
        sweep("--space", "{space}"),
        r"unknown setting 'learning_rte'; did you mean 'learning_rate'\?",
        held("learning_rte: {type: float, low: 0.001, high: 0.01}"),
    ),
    "text for a number": Mistake(
        sweep("--space", "{space}"),
        r"learning_rate\.low: must be a number above 0, got 'tiny'",
        held("learning_rate: {type: float, low: tiny, high: 0.01}"),
    ),
    "same key twice": Mistake(
        sweep("--space", "{space}"),
        r"line 4: the key 'batch_size' stands twice",
        held("batch_size: {type: categorical, choices: [50]}"),
    ),
    "space of another method": Mistake(
        ("sweep", "ord", "--dataset", "small", "--space", "{space}"),
        r"must be one of method ord, got one of none",
        held("optimizer: {type: categorical, choices: [adam]}"),
    ),
    "batch larger than data": Mistake(
        sweep("--space", "{space}"),
        r"with batch_size=100000 batch_size must not exceed the \d+ training windows of small, ",
        held("optimizer: {type: categorical, choices: [adam]}", batch="[16, 100000]"),
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What a command answered, and which files it touched."""

    code: int
    out: str
    err: str
    seconds: float
    changed: set[str]


def check(outcome: Outcome, message: str) -> None:
    assert outcome.code == 2, outcome.err
    assert outcome.out == ""
    (line,) = outcome.err.splitlines()
    assert line.startswith("hpo: ")
    assert re.search(message, line), line
    assert outcome.changed == set()


def contents(*folders: Path) -> dict[str, bytes | None]:
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for folder in folders
        for path in folder.rglob("*")
    }


Answer = tuple[int, str, str]


def make(
    mistake: Mistake, folder: Path, traffic: Path, answer: Callable[[list[str]], Answer]
) -> Outcome:
    """Make a mistake beside an old sweep called ``night``."""
    (folder / "runs" / "night").mkdir(parents=True)
    (folder / "runs" / "night" / "sweep.json").write_text("{}")
    (folder / "file").write_text("no folder")
    space = folder / "space.yaml"
    space.write_text(mistake.space)
    given = [argument.replace("{space}", str(space)) for argument in mistake.arguments]
    if given[0] in {"sweep", "resume", "status"}:
        given += ["--storage", str(folder / mistake.storage)]
    if given[0] == "sweep":
        given += ["--data", str(traffic)]
    before = contents(folder, traffic)
    started = time.monotonic()
    answered = answer(given)
    seconds = time.monotonic() - started
    after = contents(folder, traffic)
    changed = {path for path in before.keys() & after.keys() if before[path] != after[path]}
    return Outcome(*answered, seconds, changed | (before.keys() ^ after.keys()))


@pytest.mark.parametrize("name", [name for name in MISTAKES if name not in ASKS_RAY])
def test_a_mistake_gives_one_line_and_changes_nothing(
    traffic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    def answer(arguments: list[str]) -> Answer:
        code = run(arguments)
        return code, *capsys.readouterr()

    check(make(MISTAKES[name], tmp_path, traffic, answer), MISTAKES[name].message)


@pytest.fixture(scope="module")
def outcomes(traffic: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Mistakes made in processes, two at a time: to start an interpreter is most of the work."""

    def answer(arguments: list[str]) -> Answer:
        done = hpo(*arguments)
        return done.returncode, done.stdout, done.stderr

    with ThreadPoolExecutor(2) as pool:
        futures = {
            name: pool.submit(make, MISTAKES[name], tmp_path_factory.mktemp("bad"), traffic, answer)
            for name in IN_A_PROCESS
        }
        return {name: future.result() for name, future in futures.items()}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", IN_A_PROCESS)
def test_a_mistake_on_the_command_line(outcomes: dict[str, Outcome], name: str) -> None:
    check(outcomes[name], MISTAKES[name].message)
    assert outcomes[name].seconds < 60


@pytest.mark.parametrize("held_at", ["1e-3", "0.001", ".001"])
def test_numbers_like_1e_4_are_numbers_in_a_space_and_in_set(
    traffic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], held_at: str
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(held("learning_rate: {type: float, low: 1e-4, high: 1e-2, log: true}"))
    options = ["--space", str(space), "--set", f"learning_rate={held_at}", "--dry-run"]
    places = ["--data", str(traffic), "--storage", str(tmp_path / "runs"), "--format", "json"]
    assert run([*SWEEP, *options, *places]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["space"]["parameters"]["learning_rate"]["choices"] == [0.001]
    assert not (tmp_path / "runs").exists()
