"""The rules that hold for the whole project: style, types, layers, docstrings, no pickle."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for package in ("core", "hpo") for path in (ROOT / package).rglob("*.py"))
REGISTRIES = {
    "LOSSES": "core/distillation/losses.py",
    "OPTIMIZERS": "core/training/config.py",
    "PUBLISHED": "core/datasets/published/__init__.py",
    "SAMPLERS": "hpo/search/samplers.py",
    "SCHEDULERS": "hpo/search/schedulers.py",
    "SCHEDULES": "core/training/config.py",
    "SECTIONS": "hpo/report/sections/__init__.py",
}
FORBIDDEN_IN_CORE = ("hpo", "optuna", "ray")
LONGEST_FUNCTION = 60
MOST_FILES = 16
PICKLING_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
INTERNALS = ROOT / "hpo" / "internals"
INTERNAL_PACKAGES = ("ray.tune.execution", "ray.air", "ray.train._internal")
INTERNAL_NAMES = {
    "run_metadata",
    "num_failures",
    "metric_analysis",
    "metric_n_steps",
    "temporary_state",
    "system_attrs",
    "set_system_attr",
}
INTERNAL_TEXTS = re.compile(r"(RAY|TUNE)_[A-Z_]+|[A-Za-z]+:generation")
PICKLING_CALLS = {"torch.load", "torch.save", "pd.read_pickle", "pandas.read_pickle"}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["check", "."], ["format", "--check", "."]], ids=" ".join)
def test_ruff(arguments: list[str]) -> None:
    found = run(sys.executable, "-m", "ruff", *arguments)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_types() -> None:
    found = run(sys.executable, "-m", "mypy")
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.timeout(300)
def test_import_contracts() -> None:
    call = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    found = run(sys.executable, "-c", call)
    assert found.returncode == 0, found.stdout + found.stderr


def module_names(package: str) -> list[str]:
    """Dotted names of all modules of a package, itself included."""
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / package).rglob("*.py")]
    return sorted(".".join(file.parts).removesuffix(".__init__") for file in files)


def loaded_by(modules: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Which of the ``wanted`` packages a fresh interpreter holds after importing ``modules``."""
    lines = [f"import {module}" for module in modules]
    lines += ["import sys", f"print(*sorted(set({list(wanted)}) & set(sys.modules)))"]
    found = run(sys.executable, "-c", "\n".join(lines))
    assert found.returncode == 0, found.stderr
    return found.stdout.split()


@pytest.mark.timeout(300)
def test_core_loads_nothing_of_the_search() -> None:
    modules = module_names("core")
    assert {"core", "core.errors", "core.stgcn", "core.datasets.dataset"} <= set(modules)
    assert loaded_by(modules, FORBIDDEN_IN_CORE) == []


def test_that_check_can_fail() -> None:
    assert loaded_by(["hpo", "optuna"], FORBIDDEN_IN_CORE) == ["hpo", "optuna"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_opens_with_a_docstring(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring
    assert len(docstring) >= 20


@pytest.mark.parametrize("name", REGISTRIES)
def test_registry_is_a_literal_that_nothing_changes(name: str) -> None:
    definitions, changes = [], []
    for path in SOURCES:
        found = registry_uses(ast.parse(path.read_text()), name)
        definitions += [(str(path.relative_to(ROOT)), value) for value in found[0]]
        changes += [f"{path}:{line}" for line in found[1]]
    assert [path for path, _ in definitions] == [REGISTRIES[name]]
    value = definitions[0][1]
    assert isinstance(value, ast.Dict)
    assert all(isinstance(key, ast.Constant) and key.value for key in value.keys)
    assert changes == []


def registry_uses(tree: ast.AST, name: str) -> tuple[list[ast.expr | None], list[int]]:
    """The values that ``name`` is assigned, and the lines that change what it holds."""
    values: list[ast.expr | None] = []
    changes: list[int] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            values += [node.value for target in targets if is_name(target, name)]
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            changes += [node.lineno] if is_name(node.value, name) else []
        changing = {"update", "setdefault", "pop", "clear", "popitem"}
        if isinstance(node, ast.Attribute) and node.attr in changing:
            changes += [node.lineno] if is_name(node.value, name) else []
    return values, changes


def is_name(node: ast.expr, name: str) -> bool:
    return ast.unparse(node).split(".")[-1] == name


@pytest.mark.parametrize("line", ["A['x'] = 1", "m.A.update(x=1)", "del A['x']", "A.pop('x')"])
def test_that_a_changed_registry_is_seen(line: str) -> None:
    assert registry_uses(ast.parse(f"A = {{}}\n{line}"), "A")[1] == [2]
    assert registry_uses(ast.parse("B['x'] = A['x']"), "A") == ([], [])


def python_files() -> Iterator[Path]:
    """Every Python file outside the tests, which may hand over pickles to see them refused."""
    left_out = {"tests", "data", "runs", "demo"}
    for path in sorted(ROOT.rglob("*.py")):
        top = path.relative_to(ROOT).parts[0]
        if top not in left_out and not top.startswith("."):
            yield path


def pickling(source: str) -> list[str]:
    """What in a source file reads or writes pickles."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in PICKLING_MODULES]
        if isinstance(node, ast.ImportFrom) and node.module in PICKLING_MODULES:
            found.append(node.module)
        if isinstance(node, ast.Attribute) and (
            ast.unparse(node) in PICKLING_CALLS or node.attr == "to_pickle"
        ):
            found.append(ast.unparse(node))
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found += ["allow_pickle"] if ast.unparse(node.value) != "False" else []
    return found


def test_nothing_reads_or_writes_pickles() -> None:
    files = list(python_files())
    assert set(SOURCES) <= set(files)
    assert {str(path): found for path in files if (found := pickling(path.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('x')",
        "torch.save({}, 'x')",
        "frame.to_pickle('x')",
        "np.load('x', allow_pickle=True)",
    ],
)
def test_that_pickling_is_seen(source: str) -> None:
    assert pickling(source)
    assert not pickling("np.load('x', allow_pickle=False)\nsafetensors.torch.load_file('x')")


def lengths(source: str) -> dict[str, int]:
    """Lines of every function, its signature and docstring included, by name and first line."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    return {
        f"{node.name}:{node.lineno}": (node.end_lineno or 0) - node.lineno + 1 for node in found
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_are_short(path: Path) -> None:
    found = lengths(path.read_text())
    assert {name: length for name, length in found.items() if length > LONGEST_FUNCTION} == {}


def test_that_a_long_function_is_seen() -> None:
    lines = ["async def long(", "    first: int,", ") -> None:", *["    pass"] * 58]
    assert lengths("\n".join(lines)) == {"long:1": 61}
    assert lengths("class A:\n    def short(self): pass") == {"short:2": 1}


def crowded(files: Iterable[Path]) -> dict[Path, int]:
    """The folders that hold too many of these files, and how many."""
    counts = Counter(path.parent for path in files)
    return {folder: count for folder, count in counts.items() if count > MOST_FILES}


def test_folders_are_small() -> None:
    assert crowded(SOURCES) == {}


def test_that_a_crowded_folder_is_seen() -> None:
    files = [Path("room") / f"{number}.py" for number in range(MOST_FILES + 1)]
    assert crowded(files) == {Path("room"): MOST_FILES + 1}
    assert crowded(files[1:]) == {}


def internals_used(source: str) -> list[str]:
    """What in a source file Ray or Optuna do not promise: private modules, attributes, names."""
    found = []
    for node in ast.walk(ast.parse(source)):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and not node.level:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        found += [module for module in modules if is_internal(module)]
        if isinstance(node, ast.Attribute) and node.attr in INTERNAL_NAMES:
            found.append(node.attr)
        if isinstance(node, ast.Attribute) and is_internal(ast.unparse(node)):
            found.append(ast.unparse(node))
        if isinstance(node, ast.keyword) and node.arg in INTERNAL_NAMES:
            found.append(node.arg)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [node.value] if INTERNAL_TEXTS.fullmatch(node.value) else []
    return found


def is_internal(dotted: str) -> bool:
    package, *rest = dotted.split(".")
    private = any(part.startswith("_") for part in rest)
    return package in {"ray", "optuna"} and (private or dotted.startswith(INTERNAL_PACKAGES))


def test_internals_of_ray_and_optuna_are_used_in_one_room() -> None:
    used = {
        str(path.relative_to(ROOT)): found
        for path in python_files()
        if (found := internals_used(path.read_text()))
    }
    room = {path for path in used if (ROOT / path).is_relative_to(INTERNALS)}
    assert len(room) >= 4, "what the room holds must be seen"
    assert {path: used[path] for path in used.keys() - room} == {}, (
        "these belong into hpo/internals, with a test in "
        "tests/contracts/test_ray_and_optuna_contract.py"
    )


@pytest.mark.parametrize(
    "source",
    [
        "import ray._private.worker",
        "from ray import _private",
        "from ray.tune.execution.tune_controller import TuneController",
        "from optuna._hypervolume import compute_hypervolume",
        "ray._private.utils.f()",
        "trial.run_metadata.num_failures = 0",
        "create_trial(system_attrs={})",
        "os.environ['TUNE_MAX_PENDING_TRIALS_PG'] = '1'",
        "attribute = 'cma:generation'",
    ],
)
def test_that_an_internal_is_seen(source: str) -> None:
    assert internals_used(source)
    assert not internals_used("from ray import tune\nfrom optuna.trial import TrialState")
    assert not internals_used("'Sets RAY_X before.'; self._trial = trial; core._x")
