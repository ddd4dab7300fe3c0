"""Write one self-contained HTML page on a sweep or several: the command ``hpo report NAME …``.

``hpo.report`` makes the page. Changes nothing of the sweeps.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.display.output import Format, print_json, print_line
from hpo.cli.display.progress.stages import stages_shown
from hpo.cli.options import STORAGE, AnswerFormat, Storage

if TYPE_CHECKING:
    from hpo.report.building import WrittenReport


def report(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Sweeps of one dataset, side by side.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page.",
            show_default="report.html in the sweep's folder; of several sweeps comparison.html",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write every figure as PNG and SVG too; needs Chromium or Chrome."
        ),
    ] = None,
    facts: Annotated[
        bool, typer.Option("--facts", help="Print the result as JSON instead; write nothing.")
    ] = False,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Write a page that shows what sweeps found, to be opened in any browser.

    hpo report ord-first none-first --out comparison.html
    """
    check_packages("hpo report")
    from hpo.report.building import result_facts, write_report

    if facts:
        print_json(result_facts(names, storage.resolve()))
        return
    with stages_shown("reading records") as on_stage:
        written = write_report(names, storage.resolve(), out, figures, on_stage)
    _answer(written, output)


def check_packages(what: str) -> None:
    """Raise ``ConfigError`` unless the packages are there that draw figures for ``what``."""
    from importlib.util import find_spec

    from core.errors import ConfigError

    needed = {"plotly": "plotly", "kaleido": "kaleido", "sklearn": "scikit-learn"}
    missing = [package for module, package in needed.items() if find_spec(module) is None]
    if missing:
        raise ConfigError(
            f"{what} needs {' and '.join(missing)}, which this environment lacks; install this "
            "project with its extra [report]"
        )


def _answer(written: WrittenReport, output: Format) -> None:
    size = written.page.stat().st_size
    if output is Format.json:
        files = [str(path) for path in written.figures]
        print_json(
            {
                "page": str(written.page),
                "bytes": size,
                "sections": written.sections,
                "figures": files,
            }
        )
        return
    print_line(str(written.page))
    if written.figures:
        folder = written.figures[0].parent
        print_line(f"{len(written.figures)} files in {folder}")
