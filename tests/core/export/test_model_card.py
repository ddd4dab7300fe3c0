"""What an export says of itself: its card, and a Dockerfile whose every line is checked."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from core.export.model_card import docker_file, model_card
from tests.small_exports import Exported

ROOT = Path(__file__).parents[3]


@pytest.fixture
def card(exported: Exported) -> str:
    return (exported.folder / "README.md").read_text()


def test_the_card_says_what_the_manifest_holds(exported: Exported, card: str) -> None:
    manifest = json.loads((exported.folder / "manifest.json").read_text())
    test = manifest["metrics"]["test"]
    for minutes in (15, 30, 45):
        mae = f"mae_{minutes}"
        line = f"| {minutes} | {test['student'][mae]:.2f} | - | {test['repeat_last'][mae]:.2f} |"
        assert line in card
    covered = manifest["intervals"]["test"]["share"]["15"]
    assert f"hold 90% of all readings; on the test days they held {covered:.0%} at 15 min" in card
    assert "5 sensors for the next 45 minutes, every 15 minutes a row" in card
    assert f"{manifest['parameters']:,} parameters, method `ord`" in card
    assert manifest["dataset"]["fingerprint"] in card
    assert f"`{manifest['lineage']['command']}`" in card
    assert "no window crossed a midnight" in card
    assert "look ahead" not in card
    assert "None" not in card.replace("[None]", "")


def test_errors_over_seeds_have_their_spread(exported: Exported) -> None:
    manifest = json.loads((exported.folder / "manifest.json").read_text())
    over = {"mean": 2.5, "spread": 0.25, "runs": 3}
    manifest["metrics"]["over_seeds"] = {"val_mae_15": over, "val_mae_30": {**over, "spread": None}}
    manifest["gaps"]["errors_look_ahead"] = True
    said = model_card(manifest, "best")
    assert "| 2.50 ± 0.25 (3 runs) |" in said
    assert "| 2.50 (3 runs) |" in said
    assert "**They look ahead**" in said


def test_the_python_of_the_card_runs(exported: Exported, card: str, tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0]
    rows = exported.data.truth[:12].numpy()
    np.save(tmp_path / "rows.npy", rows)
    whole = f"import numpy\nrows = numpy.load({str(tmp_path / 'rows.npy')!r})\n{code}\n"
    run = subprocess.run(
        [sys.executable, "-c", f"{whole}print(forecast.shape)"],
        cwd=exported.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "(3, 5)\n", run.stderr


STEPS = [
    tuple(line.split(maxsplit=1))
    for line in docker_file().replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]


def test_the_dockerfile_copies_what_is_there(exported: Exported) -> None:
    assert (exported.folder / "Dockerfile").read_text() == docker_file()
    assert STEPS[0] == ("FROM", "python:3.12-slim")
    copied = [word for name, rest in STEPS if name == "COPY" for word in shlex.split(rest)[:-1]]
    there = {path.name for path in exported.folder.iterdir()}
    assert set(copied) - there == {"*.whl"}


def test_the_dockerfile_installs_what_the_project_asks_for_and_no_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {*project["dependencies"], *project["optional-dependencies"]["serve"]}
    installed = [word for word in shlex.split(STEPS[1][1]) if ">=" in word]
    assert set(installed) <= asked
    assert set(project["optional-dependencies"]["serve"]) <= set(installed)
    assert not any(one.startswith(("torch", "ray", "optuna", "pandas")) for one in installed)


def test_the_dockerfile_ends_with_a_command_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    from hpo.cli.main import run

    name, rest = STEPS[-1]
    command = json.loads(rest)
    assert (name, command[:2]) == ("CMD", ["hpo", "serve"])
    assert run(["serve", "--help"]) == 0
    helped = capsys.readouterr().out
    assert all(word in helped for word in command if word.startswith("--"))
