"""Keep the installed packages ``core``, ``hpo`` and ``search_spaces`` together, and run ``hpo``.

A wheel holds the three packages in the folder of this one, so that it never overwrites what another
project calls ``core``; ``stgcn_student_search.pth`` beside it adds that folder to the end of
``sys.path``, so that ``import core`` finds ours unless there is another. In a checkout they lie
beside this package. Imports none of them itself.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

__all__ = ["main", "put_first"]

PACKAGES = ("core", "hpo", "search_spaces")


def home() -> Path:
    """Return the folder that holds our packages."""
    here = Path(__file__).resolve().parent
    return here if (here / "hpo").is_dir() else here.parent


def put_first() -> None:
    """Let ``import core`` find ours in this process and in those that it starts, as Ray's workers.

    Changes nothing where that is so already. To be called before the first import of ``hpo`` or
    ``core``, and only needed where another project's package has one of their names.

    Raises:
        ImportError: another package of one of these names was imported before.
    """
    folder = home()
    for name in PACKAGES:
        present = sys.modules.get(name)
        if present is not None and not _lies_in(folder, [*getattr(present, "__path__", ())]):
            raise ImportError(
                f"{name!r} must be that of stgcn-student-search in {folder}, but another was "
                f"imported before: {present}; call stgcn_student_search.put_first() at the "
                "beginning of the script"
            )
    if all(_lies_in(folder, _found(name)) for name in PACKAGES):
        return
    sys.path.insert(0, str(folder))
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *([inherited] if inherited else [])])


def main() -> None:
    """Run the command line of this process and exit with its code."""
    put_first()
    from hpo.cli.main import main as run  # noqa: PLC0415 - found only now

    run()


def _found(name: str) -> list[str]:
    """Return the folders of the package that would be imported."""
    spec = PathFinder.find_spec(name)
    return [] if spec is None else list(spec.submodule_search_locations or [])


def _lies_in(folder: Path, packages: list[str]) -> bool:
    """Whether a package lies in ``folder``; of one in several places, the first counts."""
    return bool(packages) and Path(packages[0]).resolve().parent == folder
