"""The examples run as they are shown; the forecast with nothing but what it says it needs."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import numpy as np
import onnxruntime
import pytest
from nbclient import NotebookClient

from tests.small_exports import Exported

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "forecast.py"
WANTED = ("numpy", "numpy.libs", "onnxruntime")
"""What the environment of the example holds beside the standard library."""


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder of packages that holds numpy and onnxruntime alone."""
    packages = Path(str(find_spec("numpy").origin)).parents[1]
    (tmp_path / "packages").mkdir()
    for name in WANTED:
        if (packages / name).exists():
            (tmp_path / "packages" / name).symlink_to(packages / name)
    return tmp_path / "packages"


def run_bare(packages: Path, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in an interpreter that sees the standard library and ``packages`` alone."""
    started = f"import sys; sys.path.append({str(packages)!r}); {code}"
    command = [sys.executable, "-I", "-S", "-c", started, *map(str, arguments)]
    return subprocess.run(
        command, cwd=packages, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_environment_has_nothing_else(bare: Path) -> None:
    for package in ("torch", "onnx", "pandas", "core", "hpo"):
        found = run_bare(bare, f"import {package}")
        assert found.returncode == 1
        assert "ModuleNotFoundError" in found.stderr


def test_the_example_needs_numpy_and_onnxruntime_alone(
    exported: Exported, bare: Path, tmp_path: Path
) -> None:
    data = exported.data
    rows = data.scaler.unscale(data.readings[100:140]).numpy()
    np.savetxt(tmp_path / "readings.csv", rows, delimiter=",", fmt="%.6f")
    done = run_example(bare, exported.folder, tmp_path / "readings.csv")
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(exported.folder / "model.onnx")
    (wanted,) = session.run(["forecast"], {"readings": rows[None, -12:]})
    header, *lines = done.stdout.splitlines()
    assert header == "# minutes ahead"
    found = np.array([line.split(",") for line in lines], dtype=float)
    assert found[:, 0].tolist() == [15, 30, 45]
    np.testing.assert_allclose(found[:, 1:], wanted[0], atol=0.0051)


def run_example(packages: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    code = f"import runpy; runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    return run_bare(packages, code, *arguments)


def test_gaps_in_the_last_rows_cost_no_other_sensor_its_forecast(
    exported: Exported, bare: Path, tmp_path: Path
) -> None:
    rows = exported.data.scaler.unscale(exported.data.readings[100:140]).numpy()
    rows[-1, 2], rows[-4:, 3] = np.nan, np.nan  # 15 minutes, which are filled, and an hour
    lines = [",".join("" if np.isnan(one) else f"{one:.6f}" for one in row) for row in rows]
    (tmp_path / "readings.csv").write_text("\n".join(lines))
    done = run_example(bare, exported.folder, tmp_path / "readings.csv")
    assert (done.returncode, done.stderr) == (0, "")
    found = np.array([line.split(",") for line in done.stdout.splitlines()[1:]], dtype=float)
    assert np.isnan(found[:, 1:]).tolist() == [[False, False, False, True, False]] * 3


@pytest.mark.parametrize(
    ("content", "shape"), [("1,2,3,4,5\n" * 3, "(3, 5)"), ("1,2,3,4\n" * 20, "(20, 4)")]
)
def test_a_file_that_does_not_fit_is_refused_in_a_line(
    exported: Exported, bare: Path, tmp_path: Path, content: str, shape: str
) -> None:
    (tmp_path / "readings.csv").write_text(content)
    done = run_example(bare, exported.folder, tmp_path / "readings.csv")
    assert done.returncode == 1
    text = f"{tmp_path / 'readings.csv'} must have 12 rows of 5 readings, got {shape}\n"
    assert done.stderr == text


def test_the_readme_shows_the_example() -> None:
    code = EXAMPLE.read_text().partition('"""\n\n')[2]
    assert code in (ROOT / "README.md").read_text()
    assert len([line for line in code.splitlines() if line]) <= 15


NOTEBOOK = ROOT / "examples" / "search.ipynb"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore")  # those of Jupyter's own packages
def test_the_notebook_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=150, kernel_name="python3", resources=place).execute()
    *_, ranked, configuration, mistake = (
        cell.outputs for cell in notebook.cells if cell.cell_type == "code"
    )
    (table,) = ranked
    rows = [line.split() for line in table.data["text/plain"].splitlines()]
    assert rows[0][:3] == ["rank", "trial", "val_mae"]
    # Two confirmed by two seeds each, then two single trials.
    assert [row[-1] for row in rows[1:]] == ["2", "2", "0", "0"]
    assert "'learning_rate'" in configuration[0].data["text/plain"]
    assert mistake[0].text == "top must be at least 1, got 0\n"


def test_the_notebook_is_shown_as_it_ran() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.get("outputs")]
    assert len(cells) == 4
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
