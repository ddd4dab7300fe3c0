"""Follow a sweep that another process runs: ``hpo status NAME --watch``.

Shows what that process shows, from the ledger alone. Changes nothing of the sweep.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo.records.sweep_folder import SweepFolder


def watch(folder: SweepFolder) -> None:
    """Show every change of a sweep until it is complete or no process runs it.

    Reads the ledger only when it has grown.
    """
    from hpo.cli.display.progress.sweep_display import SweepDisplay
    from hpo.records.ledger import read_ledger
    from hpo.records.sweep_plan import extended_plan

    began, seen = folder.read_plan(), -1
    with SweepDisplay() as display:
        while True:
            # Before the ledger is read: a driver may write its last lines and leave in between.
            driven = folder.is_driven()
            folder.refresh()
            size = folder.ledger_file.stat().st_size if folder.ledger_file.exists() else 0
            if size != seen:
                seen, state = size, read_ledger(folder.ledger_file)
                plan = extended_plan(began, state)
                display.on_change(plan, state)
            if not driven or state.num_ended >= plan.config.trials:
                return
            try:
                time.sleep(folder.store.poll_seconds)
            except KeyboardInterrupt:  # ends the watching, not the sweep
                return
