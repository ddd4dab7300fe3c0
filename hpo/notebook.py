"""Offer in one import what a notebook needs beside ``run_sweep``: progress, and records as a table.

``SweepDisplay`` draws a bar and a table of trials below the cell where ipywidgets are installed,
and a line per trial elsewhere:

    with SweepDisplay() as progress:
        records = run_sweep(config, places, observer=progress)
    records_frame(records)
"""

from hpo.cli.display.progress.sweep_display import SweepDisplay
from hpo.records.records_frame import records_frame

__all__ = ["SweepDisplay", "records_frame"]
