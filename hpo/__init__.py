"""Search for distilled and pruned STGCN students on Ray Tune and Optuna.

Computes no gradient: the network, its losses and its training are in ``core``. The top holds what
a user's script imports: ``sweep``, ``selection``, ``sweep_config``. The packages, each of which
imports only those below it:

    notebook  what a notebook imports: progress, records as a table
    cli       commands, and how they are displayed
    outcomes  confirmed winners, export folders, logs for other tools
    report    the HTML page about sweeps
    driver    the one process that runs a sweep on Ray
    planning  everything that is checked before anything is trained
    search    samplers, schedulers and searchers: which trial is next, which stops early
    housekeeping  delete a sweep, pack it into one file and unpack that
    trials    one trial, from its settings to a trained student
    records   a sweep on disk: plan, ledger, trial records, students
    storage   object stores, local mirrors of them, and the lease of a driver
    space     what a sweep may vary and minimise, read from YAML
    internals what Ray and Optuna do not promise, so that an upgrade breaks one package

Where another project's ``core`` would be imported instead of ours, the import of ``hpo`` says so.
"""

from importlib.util import find_spec
from pathlib import Path


def _check_core() -> None:
    """Make sure that ``core`` is the package beside this one.

    Raises:
        ImportError: it is another project's.
    """
    own, found = Path(__file__).resolve().parents[1], find_spec("core")
    folders = list(found.submodule_search_locations or ()) if found else []
    if not folders or Path(folders[0]).resolve().parent != own:
        raise ImportError(
            f"hpo needs the package core in {own}, but found {found.origin if found else None}, "
            "which is another project's; install stgcn-student-search into an environment of its "
            "own, or call stgcn_student_search.put_first() before this import"
        )


_check_core()
