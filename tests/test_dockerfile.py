"""Dockerfile and .dockerignore, as far as can be told without a builder and the base image.

Its lines are parsed and checked; its steps run one by one in an empty folder, from the very files
that a builder would get.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text()
IGNORED = [
    line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"
]
STEPS = [
    tuple(line.split(maxsplit=1))
    for line in TEXT.replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]
SECRETS = (".env", ".git/config", ".venv/bin/python", "data/small/card.json", "runs/a/sweep.json")


def reaches_the_builder(path: str) -> bool:
    """Whether .dockerignore lets a file through: its last line that fits decides."""
    sent = True
    for line in IGNORED:
        pattern = line.removeprefix("!")
        names = [path, *(str(one) for one in Path(path).parents if str(one) != ".")]
        if pattern.startswith("**/"):
            fits = any(part == pattern[3:] for part in Path(path).parts)
        else:
            fits = any(fnmatch.fnmatchcase(name, pattern) for name in names)
        if fits:
            sent = line.startswith("!")
    return sent


def copied() -> list[tuple[list[str], str]]:
    """Sources and target of every COPY."""
    found = []
    for name, rest in STEPS:
        if name == "COPY":
            *sources, target = [word for word in shlex.split(rest) if not word.startswith("--")]
            found.append((sources, target))
    return found


def test_it_begins_with_the_tested_version_of_ray() -> None:
    ray = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert ray is not None
    assert STEPS[0] == ("FROM", f"rayproject/ray:{ray[1]}-py312-gpu")
    assert [name for name, _ in STEPS].count("FROM") == 1
    tags = set(re.findall(r"stgcn-student-search:(\S+)", TEXT))
    assert tags == {f"ray-{ray[1]}"}
    assert f"stgcn-student-search:ray-{ray[1]}" in (ROOT / "docs" / "cluster.md").read_text()


def test_every_line_is_an_instruction_and_nobody_becomes_root() -> None:
    assert {name for name, _ in STEPS} == {"FROM", "WORKDIR", "COPY", "RUN"}
    assert not re.search(r"USER root|sudo|curl|wget|:latest", TEXT)
    installs = [rest for name, rest in STEPS if name == "RUN" and "pip install" in rest]
    assert all("--no-cache-dir" in line for line in installs)
    assert all("--constraint constraints.txt" in one or "--no-deps" in one for one in installs)


def test_what_is_copied_exists_and_reaches_the_builder() -> None:
    for sources, _ in copied():
        for source in sources:
            assert (ROOT / source).exists(), source
            assert reaches_the_builder(source), source
    assert reaches_the_builder("hpo/report/page.html.j2")
    assert not [path for path in SECRETS if reaches_the_builder(path)]
    assert not reaches_the_builder("core/__pycache__/graph.cpython-312.pyc")


def test_what_is_installed_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {*project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]}
    needed |= {project["project"]["readme"], *project["project"]["license-files"]}
    assert needed <= {source for sources, _ in copied() for source in sources}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_its_steps_run_in_an_empty_folder(tmp_path: Path) -> None:
    """On the packages of this environment; so what a step installs is the project alone."""
    sent = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    if not sent:
        pytest.skip("what a builder would get is found by git, which knows no files here")
    context, home = tmp_path / "context", tmp_path / "image"
    for path in filter(reaches_the_builder, sent):
        (context / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, context / path)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {
        name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "HPO_"))
    }
    environment["PATH"] = f"{tmp_path / 'venv' / 'bin'}:{os.environ['PATH']}"
    folder = home
    for name, rest in STEPS[1:]:
        if name == "WORKDIR":
            folder = home / rest.lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            *sources, target = [word for word in shlex.split(rest) if not word.startswith("--")]
            for source in sources:
                copy(context / source, folder / target)
        else:
            done = run(rest, folder, environment)
            if "hatchling" in done.stderr and "No matching" in done.stderr:
                pytest.skip("no index here has hatchling, which builds the wheel")
            assert done.returncode == 0, f"{rest}\n{done.stdout}{done.stderr}"
    assert done.stdout.startswith("hpo ")
    found = run("python -c 'import hpo; print(hpo.__file__)'", folder, environment)
    assert found.stdout.startswith(str(packages))


def copy(source: Path, target: Path) -> None:
    """Copy as COPY does: a folder's content, or a file into a folder."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def run(
    command: str, folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
