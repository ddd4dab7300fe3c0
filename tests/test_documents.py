"""Check that what the documents name exists: commands with their options, files, modules, links.

Our commands also where Ray carries them (``ray job submit … -- hpo sweep …``), and Ray's own.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import typer

from hpo.cli.main import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
# CHANGELOG.md also names what is gone.
ABOUT_CODE = [*DOCUMENTS, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]
PATH = re.compile(
    r"(?<![\w./-])(?:core|hpo|search_spaces|tests|benchmarks|examples|docs)/[\w./-]*\w"
)
DOTTED = re.compile(r"(?<![\w./-])(?:core|hpo|benchmarks)(?:\.\w+)+")
IMPORT = re.compile(r"^from ((?:core|hpo)(?:\.\w+)*) import (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
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


def _names(text: str) -> set[str]:
    """Return what a text says of our code: paths, dotted names, names that it imports."""
    imported = {
        f"{module}.{name}" for module, names in IMPORT.findall(text) for name in names.split(", ")
    }
    paths = {path for path in PATH.findall(text) if "NAME" not in path}
    return paths | set(DOTTED.findall(text)) | imported


def _exists(name: str) -> bool:
    """Whether a path is there, or a dotted name is a module or an attribute of one."""
    if "/" in name:
        return (ROOT / name).exists()
    path = ROOT / name.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module, _, attribute = name.rpartition(".")
    return _exists(module) and hasattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("document", ABOUT_CODE, ids=lambda path: path.name)
def test_files_modules_and_imports_exist(document: Path) -> None:
    assert [name for name in sorted(_names(document.read_text())) if not _exists(name)] == []


@pytest.mark.parametrize("document", ABOUT_CODE, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    links = LINK.findall(document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_moved_modules_are_where_the_changelog_says() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    moved = [
        name for new in re.findall(r"^\|.*\|(.*)\|$", text, re.MULTILINE) for name in _names(new)
    ]
    assert len(moved) > 40
    assert [name for name in moved if not _exists(name)] == []


def test_a_wrong_name_would_be_found() -> None:
    text = "`core/nothing.py` and core.stgcn.Nothing\nfrom core.stgcn import STGCN, Missing\n"
    assert [name for name in sorted(_names(text)) if not _exists(name)] == [
        "core.stgcn.Missing",
        "core.stgcn.Nothing",
        "core/nothing.py",
    ]


def test_architecture_names_every_room() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    folders = [
        path.parent for top in ("core", "hpo") for path in (ROOT / top).glob("*/__init__.py")
    ]
    rooms = {f"`{folder.relative_to(ROOT)}/`" for folder in folders}
    assert {room for room in rooms if room not in text} == set()
