"""A wheel, installed outside the checkout: it holds everything, works, and breaks no one else.

The environment is new and sees the packages of this one, so nothing but the wheel is installed.
"""

from __future__ import annotations

import importlib.machinery
import os
import subprocess
import sys
import sysconfig
import types
import zipfile
from pathlib import Path

import pytest

import hpo
import stgcn_student_search

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "hpo", "search_spaces")
THEIRS = "name = 'another project'\n"
NEEDED = {
    "core/export/manifest.schema.json",
    "core/py.typed",
    "hpo/py.typed",
    "hpo/report/page.html.j2",
    "search_spaces/ord.yaml",
    "search_spaces/paper/ord.yaml",
}
IMPORTS = """
from core.stgcn import STGCN, STGCNConfig
from core.distillation.losses import LOSSES
from hpo.space.search_space import built_in_search_space
from hpo.selection import best
import core, hpo
print(core.__file__, hpo.__file__, len(built_in_search_space("ord").parameters))
"""


def command(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as in a shell of its own, outside the checkout."""
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [*map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    done = command(*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT, folder=folder)
    if "hatchling" in done.stderr and ("No matching" in done.stderr or "Connection" in done.stderr):
        pytest.skip("no index here has hatchling, which builds the wheel")
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel, and with another project's ``core``."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    done = command(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder.parent)
    assert done.returncode == 0, done.stderr
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (packages / "core").mkdir()
    (packages / "core" / "__init__.py").write_text(THEIRS)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"]
    done = command(*pip, "--no-deps", "--force-reinstall", wheel, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_a_wheel_holds_all_files_below_one_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "stgcn_student_search",
        "stgcn_student_search.pth",
    }
    here = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here >= NEEDED
    assert {f"stgcn_student_search/{name}" for name in here} <= names


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_works_beside_a_core_of_another_project(environment: Path, tmp_path: Path) -> None:
    bin_folder = environment / "bin"
    python = bin_folder / "python"
    # Theirs stays theirs, and ours says so.
    done = command(python, "-c", "import core; print(core.name)", folder=tmp_path)
    assert done.stdout == "another project\n"
    done = command(python, "-c", "import hpo", folder=tmp_path)
    assert "put_first() before this import" in done.stderr.splitlines()[-1]
    # A script may ask for ours, and the command needs no asking.
    first = "import stgcn_student_search; stgcn_student_search.put_first()"
    done = command(python, "-c", first + IMPORTS, folder=tmp_path)
    assert done.stdout.count(str(environment)) == 2, done.stderr
    done = command(bin_folder / "hpo", "--version", folder=tmp_path)
    assert (done.returncode, done.stdout[:4]) == (0, "hpo "), done.stderr
    sizes = "num_sensors=4, split=(2, 1, 1)"
    make = f"from core.datasets.synthetic import build_synthetic as b; b(Path('small'), 1, {sizes})"
    code = f"{first}; from pathlib import Path; {make}"
    done = command(python, "-c", code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    sweep = ["sweep", "none", "--dataset", "small", "--data", ".", "--name", "one"]
    done = command(
        bin_folder / "hpo", *sweep, "--trials", 1, "--epochs", 1, "--format=json", folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "one" / "results" / "0000.parquet").is_file()


@pytest.mark.slow
def test_in_an_environment_of_its_own_scripts_just_import(
    environment: Path, tmp_path: Path
) -> None:
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "core").rename(packages / "other")
    try:
        done = command(environment / "bin" / "python", "-c", IMPORTS, folder=tmp_path)
    finally:
        (packages / "other").rename(packages / "core")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(environment)) == 2


@pytest.mark.slow
def test_an_editable_install_copies_nothing(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", tmp_path / "target"]
    done = command(*pip, "--editable", ROOT, folder=tmp_path)
    if "hatchling" in done.stderr and "No matching" in done.stderr:
        pytest.skip("no index here has hatchling, which builds the wheel")
    assert done.returncode == 0, done.stderr
    (added,) = (tmp_path / "target").glob("*.pth")
    assert added.read_text().strip() == str(ROOT)
    assert not list((tmp_path / "target").glob("*/*.py"))


def test_in_the_checkout_nothing_is_changed() -> None:
    before = list(sys.path)
    stgcn_student_search.put_first()
    assert stgcn_student_search.home() == ROOT
    assert sys.path == before


def test_ours_come_first_where_another_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.delitem(sys.modules, "search_spaces", raising=False)
    stgcn_student_search.put_first()
    assert sys.path[0] == str(ROOT)
    # Ray's workers on this machine find them by this.
    assert os.environ["PYTHONPATH"] == f"{ROOT}{os.pathsep}elsewhere"


@pytest.mark.parametrize("name", PACKAGES)
def test_after_another_was_imported_it_is_too_late(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    with pytest.raises(ImportError, match=rf"'{name}' must be that of stgcn-.* call .*put_first"):
        stgcn_student_search.put_first()


@pytest.mark.parametrize("origin", [None, "/elsewhere/core.py", "/elsewhere/core/__init__.py"])
def test_hpo_refuses_another_core(monkeypatch: pytest.MonkeyPatch, origin: str | None) -> None:
    spec = None
    if origin is not None:
        spec = importlib.machinery.ModuleSpec("core", None, origin=origin)
        if origin.endswith("__init__.py"):
            spec.submodule_search_locations = ["/elsewhere/core"]
    monkeypatch.setattr(hpo, "find_spec", lambda _: spec)
    with pytest.raises(ImportError, match=f"found {origin}, which is another project's"):
        hpo._check_core()
