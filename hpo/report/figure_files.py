"""Write the figures of a report as PNG and SVG files.

Uses Kaleido, Plotly's own exporter, so that files look like the page and no figure is drawn by two
libraries. Kaleido needs a Chromium or Chrome on this machine; that is checked first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import plotly.io
from choreographer.browsers import Chromium

from core.errors import ConfigError
from core.files import write_bytes
from hpo.report.section import Panel

FORMATS = ("png", "svg")
WIDTH = 900
"""Pixels; a PNG has twice as many."""


def has_browser() -> bool:
    """Whether this machine has a browser that can draw."""
    return Chromium.find_browser(skip_local=False) is not None


def check_browser() -> None:
    """Raise ``ConfigError`` if this machine has no browser that can draw."""
    if not has_browser():
        raise ConfigError(
            "--figures needs Chromium or Chrome to draw, but none is on this machine; install one "
            "(Debian: apt-get install chromium), or save figures from the page with its camera"
        )


def write_figures(
    panels: Sequence[Panel], folder: Path, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Write every panel as ``FOLDER/NAME.png`` and ``.svg``; other files there stay as they are.

    Args:
        panels: the figures.
        folder: where to.
        formats: endings of the files.

    Returns:
        The files, in the order of the panels.
    """
    names = [f"{panel.name}.{ending}" for panel in panels for ending in formats]
    figures = [panel.figure for panel in panels for _ in formats]
    with tempfile.TemporaryDirectory() as aside:
        drawn = [Path(aside) / name for name in names]
        plotly.io.write_images(figures, drawn, width=WIDTH, scale=2)
        for path in drawn:
            write_bytes(folder / path.name, path.read_bytes())
    return [folder / name for name in names]
