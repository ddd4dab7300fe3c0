"""Build a report: gather facts, evaluate networks, draw sections, write the page.

Writes figures as files only where a folder is given; changes no sweep.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import optuna

from core.files import writable_folder, write_bytes
from hpo.records import layout
from hpo.report.facts import ReportFacts
from hpo.report.figure_files import check_browser, write_figures
from hpo.report.gathering import gather
from hpo.report.networks import evaluate_networks
from hpo.report.page import page
from hpo.report.paper import PAPER
from hpo.report.section import Numbers, Section, Table
from hpo.report.sections import SECTIONS
from hpo.report.sections.result import result

OnStage = Callable[[str, int, int], None]
"""Called before each network and section with what begins, how many are done, and of how many."""


@dataclass(frozen=True)
class WrittenReport:
    """The files of a written report and the sections on its page."""

    page: Path
    sections: list[str]
    figures: list[Path]


def write_report(
    names: Sequence[str],
    storage: Path,
    out: Path | None = None,
    figures: Path | None = None,
    on_stage: OnStage = lambda *_: None,
) -> WrittenReport:
    """Write the report of one sweep, or of several side by side.

    Args:
        names: of the sweeps, each once.
        storage: folder of the sweeps.
        out: file of the page; None: ``report.html`` in the sweep's folder, of several sweeps
            ``comparison.html`` in the first one's.
        figures: a folder for all figures as files.
        on_stage: see ``OnStage``.

    Raises:
        UserError: what ``gather`` refuses; ``figures`` without a browser on this machine; or a
            page that cannot be written. Nothing is written then.
    """
    if figures is not None:
        check_browser()
    facts = gather(names, storage)
    path = out or _default_path(facts)
    if path.is_symlink():  # what it points to is written, as by ``>``
        path = Path(os.path.realpath(path))
    for folder in (path.parent, *([] if figures is None else [figures])):
        writable_folder(folder)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    begin = _stages(facts, on_stage)
    evaluated = evaluate_networks(facts, lambda network: begin(f"forecasting with {network}"))
    sections = draw(evaluated, lambda anchor: begin(f"drawing {anchor}"))
    paper = PAPER if facts.paper else ""
    write_bytes(path, page(_title(names), _made(facts), sections, paper).encode())
    panels = [panel for section in sections.values() for panel in section.panels]
    files = [] if figures is None else write_figures(panels, figures)
    return WrittenReport(path, list(sections), files)


def result_facts(names: Sequence[str], storage: Path) -> dict[str, Any]:
    """Return the first section of a report as JSON values: what was searched and found.

    Args and errors are those of ``write_report``; evaluates no network and writes nothing.
    """
    section = result(gather(names, storage))
    numbers = [block.items for block in section.blocks if isinstance(block, Numbers)]
    tables = [block for block in section.blocks if isinstance(block, Table)]
    return {
        "seen": section.seen,
        "numbers": {label: number for items in numbers for number, label in items},
        "tables": [
            {"title": table.title, "headings": table.headings, "rows": table.rows}
            for table in tables
        ],
        "note": section.note,
    }


def draw(
    facts: ReportFacts, on_section: Callable[[str], None] = lambda _: None
) -> dict[str, Section]:
    """Return the sections that apply to these facts, in the order of the page.

    Args:
        facts: what they draw from.
        on_section: called with the anchor of each before it is drawn.
    """
    drawn = {}
    for anchor, draw_section in SECTIONS.items():
        on_section(anchor)
        section = draw_section(facts)
        if section is not None:
            drawn[anchor] = section
    return drawn


def _stages(facts: ReportFacts, on_stage: OnStage) -> Callable[[str], None]:
    """Return a function to call with each network and section before it begins."""
    students = 0 if facts.data is None else sum(one.shown is not None for one in facts.sweeps)
    teachers = students > 0 and facts.teacher is not None
    done, total = count(), students + teachers + len(SECTIONS)
    return lambda what: on_stage(what, next(done), total)


def _default_path(facts: ReportFacts) -> Path:
    name = layout.REPORT_OF_SEVERAL if facts.several else layout.REPORT
    return facts.sweeps[0].folder.path / name


def _title(names: Sequence[str]) -> str:
    return f"{'Sweep' if len(names) == 1 else 'Sweeps'} {', '.join(names)}"


def _made(facts: ReportFacts) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    running = [sweep.name for sweep in facts.sweeps if sweep.standing != "complete"]
    unfinished = f"; not complete yet: {', '.join(running)}" if running else ""
    release = version("stgcn-student-search")
    return f"Made {now} by stgcn-student-search {release}{unfinished}"
