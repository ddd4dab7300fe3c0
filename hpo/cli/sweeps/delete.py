"""Delete a sweep: the command ``hpo delete NAME``."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli.display.output import Format, print_line
from hpo.cli.options import STORAGE, AnswerFormat, Storage, Yes


def delete(
    name: Annotated[str, typer.Argument(help="A sweep's name; `hpo status` shows them.")],
    yes: Yes = False,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Delete a sweep with its students and exports; teachers stay."""
    from hpo.cli.display.output import print_json
    from hpo.cli.display.questions import ask
    from hpo.housekeeping.deleting import delete_sweep
    from hpo.records.layout import RECORDS
    from hpo.records.sweep_folder import find_sweep
    from hpo.records.trial_files import names_of_exports

    folder = find_sweep(storage, name)
    # Counted, not read: a sweep whose files are damaged is deleted like any other.
    trials = len([*folder.results.glob(RECORDS)])
    exports = len(names_of_exports(folder))
    holds = f"{trials} trials that ended and {exports} exports"
    ask(f"Delete {name!r} with {holds} from {folder.storage_address}?", yes=yes)
    delete_sweep(folder)
    if output is Format.json:
        print_json({"sweep": name, "trials": trials, "exports": exports, "deleted": True})
    else:
        print_line(f"deleted {name}: {holds}")
