"""The commands that README.md and docs/ show exist, with the options they are shown with.

Ours also where Ray carries them (``ray job submit … -- hpo sweep …``), and Ray's own.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from hpo.cli.main import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
COMMAND = re.compile(
    r"(?:^(?:\$ )?|-- |')hpo ([a-z]+(?: (?:list|fetch|import|check))?)\b([^#\n`']*)", re.MULTILINE
)
RAY_COMMAND = re.compile(r"^ *(?:\$ )?ray ((?:job )?[a-z-]+)\b((?:(?! -- |#|`|').)*)", re.MULTILINE)


def _options(path: list[str]) -> set[str]:
    command = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]  # type: ignore[attr-defined]
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(document: Path) -> None:
    shown = COMMAND.findall(document.read_text())
    for words, rest in shown:
        options = _options(words.split())
        unknown = set(re.findall(r"(--[a-z-]+)", rest)) - options
        assert not unknown, f"hpo {words} has no {unknown}"


def test_the_readme_shows_the_whole_way() -> None:
    shown = {words for words, _ in COMMAND.findall((ROOT / "README.md").read_text())}
    assert shown >= {"data import", "teacher", "sweep", "best", "export", "evaluate", "resume"}


def test_a_wrong_option_would_be_found() -> None:
    assert "--no-such-option" not in _options(["sweep"])
    with pytest.raises(KeyError):
        _options(["sweap"])


def test_commands_that_ray_carries_are_seen() -> None:
    shown = {words for words, _ in COMMAND.findall((ROOT / "docs" / "cluster.md").read_text())}
    assert shown == {"data import", "teacher", "sweep", "status", "resume", "best", "export"}


@pytest.mark.slow
def test_commands_of_ray_exist() -> None:
    from ray.scripts.scripts import cli

    shown = RAY_COMMAND.findall((ROOT / "docs" / "cluster.md").read_text())
    assert {"up", "exec", "job submit", "get-auth-token"} <= {words for words, _ in shown}
    for words, rest in shown:
        command = cli
        for name in words.split():
            command = command.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        unknown = set(re.findall(r"(--[a-z-]+)", rest)) - known
        assert not unknown, f"ray {words} has no {unknown}"
