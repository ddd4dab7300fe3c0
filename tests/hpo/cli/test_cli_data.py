from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from core.datasets.published import PUBLISHED
from core.errors import ConfigError, DatasetError, UnknownNameError
from hpo.cli.datasets.data import app


@pytest.fixture
def run(tmp_path):
    """Run a command on a fresh data folder; errors come out as exceptions."""

    def invoke(*arguments):
        command = [*map(str, arguments), "--data", str(tmp_path / "data")]
        return CliRunner().invoke(app, command, catch_exceptions=False)

    return invoke


@pytest.fixture
def options(tmp_path):
    rng = np.random.default_rng(0)
    pd.DataFrame(rng.uniform(20, 70, (72, 3))).to_csv(tmp_path / "r.csv", header=False, index=False)
    (tmp_path / "e.csv").write_text("from,to,cost\n0,1,1.5\n1,2,0.9\n")
    return [
        *("--readings", tmp_path / "r.csv", "--edges", tmp_path / "e.csv"),
        *("--interval", 60, "--days", "consecutive", "--split", "1/1/1"),
        *("--distance-unit", "miles", "--unit", "km/h"),
    ]


def test_import_list_and_check_as_json(run, options):
    imported = json.loads(run("import", "mine", *options, "--format", "json").stdout)
    assert imported["sensors"] == 3
    assert imported["split"] == "1/1/1"
    assert imported["edges"] == 4
    listed = json.loads(run("list", "--format", "json").stdout)
    assert [row["name"] for row in listed] == ["mine", "synthetic", *PUBLISHED]
    assert listed[0] == imported
    checked = json.loads(run("check", "mine", "--format", "json").stdout)
    assert checked["card"]["unit"] == "km/h"
    assert checked["card"]["graph"].startswith("edges in miles")
    assert all(set(problem) == {"severity", "text"} for problem in checked["problems"])


def test_tables_for_people(run, options):
    imported = run("import", "mine", *options)
    assert imported.exit_code == 0
    assert "next: hpo data check mine" in imported.stdout
    assert "3 consecutive" in run("list").stdout
    assert "built in, made on first use" in " ".join(run("list").stdout.split())


def test_check_makes_the_built_in_dataset(run, tmp_path):
    answer = run("check", "synthetic")
    assert answer.exit_code == 0
    assert "of the readings are missing" in " ".join(answer.stdout.split())
    assert (tmp_path / "data" / "synthetic" / "card.json").is_file()


def test_mistakes_reach_the_main_command_as_errors(run, options):
    with pytest.raises(
        UnknownNameError, match="unknown dataset 'synthetik'; did you mean 'synthetic'"
    ):
        run("check", "synthetik")
    with pytest.raises(ConfigError, match=r"--split must be days .* got '22/4'"):
        run("import", "mine", *options, "--split", "22/4")
    with pytest.raises(DatasetError, match="weekdays or consecutive, got 'daily'"):
        run("import", "mine", *options, "--days", "daily")
    with pytest.raises(ConfigError, match="exactly one of"):
        run("import", "mine", *options, "--adjacency", "a.csv")


def test_a_missing_option_is_wrong_usage(run):
    assert run("import", "mine").exit_code == 2
    assert run("list", "--format", "yaml").exit_code == 2


def test_the_data_folder_may_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HPO_DATA", str(tmp_path / "elsewhere"))
    assert CliRunner().invoke(app, ["check", "synthetic"]).exit_code == 0
    assert (tmp_path / "elsewhere" / "synthetic").is_dir()


def test_help_loads_nothing_heavy():
    import subprocess
    import sys

    code = (
        "import sys, hpo.cli.datasets.data; "
        "print(sorted({'torch', 'pandas', 'ray'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
