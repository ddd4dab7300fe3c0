"""What the commands say of models that repeating the last reading beats."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hpo.cli.display.beside_last import warn_beside_last
from hpo.cli.display.output import Format
from hpo.cli.main import run
from hpo.cli.students.export import _show
from hpo.records.ranking import beats_last
from tests.small_exports import Exported

Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("error", "repeated", "better"),
    [
        (2.0, 3.0, True),
        (3.0, 3.0, False),
        (3.1, 3.0, False),
        (2.0, None, True),
        (2.0, float("nan"), True),
        (None, 3.0, False),
    ],
)
def test_as_good_is_not_better(
    capsys: Output, error: float | None, repeated: float | None, better: bool
) -> None:
    assert beats_last(error, repeated) == better
    given = ("this teacher", {"val_mae": error}, {"val_mae": repeated}, "val_mae")
    assert warn_beside_last(*given) == better
    said = capsys.readouterr().err
    assert said.count("\n") == (0 if better else 1)
    assert better or "note: this teacher is no better than repeating the last reading" in said


@pytest.fixture
def readings(exported: Exported, tmp_path: Path) -> Path:
    np.savez(tmp_path / "readings.npz", data=np.array(exported.dataset.readings))
    return tmp_path / "readings.npz"


def test_evaluate_compares_on_the_same_windows(
    exported: Exported, readings: Path, capsys: Output
) -> None:
    """The exported student is untrained, so the last reading beats it."""
    command = ["evaluate", str(exported.folder), "--readings", str(readings), "--days", "4-5"]
    assert run(command) == 0
    shown = capsys.readouterr()
    assert "MAE of repeating the last reading, mph" in shown.out
    assert "note: this student is no better than repeating the last reading (mae" in shown.err
    assert run([*command, "--require-better-than-last", "--format", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["repeat_last"]["mae"]["30"] < answer["mae"]["30"]


@pytest.mark.parametrize("better", [True, False])
def test_export_goes_on_to_evaluate_what_is_worth_it(
    exported: Exported, tmp_path: Path, capsys: Output, better: bool
) -> None:
    folder = tmp_path / "export"
    shutil.copytree(exported.folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    test = manifest["metrics"]["test"]
    del test["teacher"]
    test["student"]["mae"] = test["repeat_last"]["mae"] - (0.5 if better else 0.0)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert _show([folder], Format.table) == better
    shown = capsys.readouterr()
    assert ("next: hpo evaluate" in shown.out) == better
    assert ("trial 7 of first on its test days is no better than" in shown.err) != better
    assert _show([folder], Format.json) == better
    assert json.loads(capsys.readouterr().out)[0]["better_than_last"] == better
