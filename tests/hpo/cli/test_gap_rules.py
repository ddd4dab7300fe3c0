"""What the commands say of the two rules for gaps, and what ``--gaps`` refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.preprocessing.prepare import prepare
from core.training.teachers import find_teacher
from hpo.cli.main import run
from hpo.outcomes.sweep_teachers import teacher_from_sweep
from hpo.sweep_config import SweepConfig
from tests.small_exports import Exported
from tests.small_students import make_dataset, make_student
from tests.small_sweeps import make_sweep, record

Output = pytest.CaptureFixture[str]
INTERPOLATED = {"rule": "interpolate", "errors_look_ahead": True}


def of_rule(exported: Exported, folder: Path, told: dict | None, share: float = 0.03) -> Path:
    """A copy of an export that tells its rule so; None: one from before there were two."""
    shutil.copytree(exported.folder, folder)
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["gaps"]
    manifest["dataset"]["missing_share"] = share
    if told is None:
        (folder / "usual_day.safetensors").unlink()
        del manifest["files"]["usual_day.safetensors"]
    else:
        manifest["gaps"] = told
    file.write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize(
    ("told", "share", "noted"),
    [
        (INTERPOLATED, 0.03, True),
        ({"rule": "causal", "errors_look_ahead": False}, 0.03, False),
        (None, 0.03, True),
        (None, 0.0, False),
    ],
)
def test_evaluate_is_causal_whatever_the_export_was_judged_by(
    exported: Exported, tmp_path: Path, capsys: Output, told: dict | None, share: float, noted: bool
) -> None:
    readings = tmp_path / "readings.npz"
    values = np.array(exported.dataset.readings)
    values[400:420, 2] = np.nan
    np.savez(readings, data=values)
    folder = of_rule(exported, tmp_path / "export", told, share)
    for file in (folder, exported.folder):
        command = ["evaluate", str(file), "--readings", str(readings), "--format", "json"]
        assert run([*command, "--days", "4-5"]) == 0
        answer = capsys.readouterr()
        if file == folder:
            first = json.loads(answer.out)
            assert ("look ahead, as gaps were interpolated; these do not" in answer.err) == noted
    # A gap inside a day has earlier readings: both exports fill it alike.
    assert first["mae"]["15"] == pytest.approx(json.loads(answer.out)["mae"]["15"], abs=0.02)


def test_status_says_which_sweeps_look_ahead(tmp_path: Path, capsys: Output) -> None:
    make_dataset(tmp_path / "data" / "small")
    for name, gaps in (("old", "interpolate"), ("new", "causal")):
        folder = make_sweep(tmp_path, [record(0, 2.5, sweep=name)], tmp_path / "data")
        plan = folder.read_plan()
        folder.write_plan(replace(plan, config=replace(plan.config, gaps=gaps)))
        assert run(["status", name, "--storage", str(tmp_path)]) == 0
        assert ("these errors look ahead" in capsys.readouterr().out) == (name == "old")


def test_sweeps_from_before_go_on_as_they_began() -> None:
    told = SweepConfig("first", "none", "small").to_json()
    assert SweepConfig.from_json(told).gaps == "causal"
    del told["gaps"]
    assert SweepConfig.from_json(told).gaps == "interpolate"


@pytest.mark.parametrize("command", [["teacher", "small"], ["sweep", "none", "--dataset", "small"]])
def test_a_rule_that_there_is_not_is_refused(
    tmp_path: Path, capsys: Output, command: list[str]
) -> None:
    make_dataset(tmp_path / "data" / "small")
    places = ["--data", str(tmp_path / "data"), "--storage", str(tmp_path / "runs")]
    assert run([*command, *places, "--gaps", "casual"]) == 2
    said = capsys.readouterr().err
    assert "unknown rule for gaps 'casual'; did you mean 'causal'?" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_no_teacher_of_one_rule_teaches_under_the_other(tmp_path: Path) -> None:
    """A student of an interpolated sweep as a teacher, then asked for by a causal one."""
    from core.checkpoint import save_model
    from core.errors import ConfigError

    dataset = make_dataset(tmp_path / "data" / "small")
    old = prepare(dataset, gaps="interpolate")
    one = record(0, 2.5, dataset_fingerprint=old.fingerprint)
    folder = make_sweep(tmp_path / "runs", [one], tmp_path / "data")
    plan = folder.read_plan()
    folder.write_plan(replace(plan, config=replace(plan.config, gaps="interpolate")))
    save_model(folder.student(0), make_student(old), {"trial": 0, "sweep": "first"})
    teacher = teacher_from_sweep(folder, "small")
    storage = tmp_path / "runs"
    assert find_teacher(storage, old, None) == teacher
    assert find_teacher(storage, prepare(dataset), None) is None
    with pytest.raises(
        ConfigError, match=r"by the rule causal, but \w+ was trained .* interpolate"
    ):
        find_teacher(storage, prepare(dataset), teacher.fingerprint)
