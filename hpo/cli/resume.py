"""``hpo resume NAME``: go on with a sweep after any stop."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli.options import STORAGE, Address, AnswerFormat, Storage
from hpo.cli.output import Format


def resume(
    name: Annotated[str, typer.Argument(help="A sweep's name; `hpo status` shows them.")],
    address: Address = "local",
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Go on with a sweep; trials that ended are never run again."""
    from hpo.cli.sweep_display import SweepDisplay, answer
    from hpo.planning import Places
    from hpo.sweep import resume_sweep
    from hpo.sweep_store import find_sweep

    config = find_sweep(storage, name).read_plan().config
    with SweepDisplay() as display:
        records = resume_sweep(name, Places(storage=storage, address=address), display)
    answer(config, records, display.plan, output)
