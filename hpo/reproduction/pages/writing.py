"""Write a result as a Markdown file with figures beside it, or as one HTML page.

Files are written aside and renamed. Draws figures only here, so all else works without Plotly.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from core.errors import ConfigError
from core.files import writable_folder, write_bytes
from hpo.report.figure_files import has_browser, write_figures
from hpo.report.page import page
from hpo.report.paper import PAPER
from hpo.report.section import Section
from hpo.reproduction.pages.figures import forecast_section, table_panels
from hpo.reproduction.pages.markdown import markdown
from hpo.reproduction.pages.result import ReproductionResult

ENDINGS = (".md", ".html")


def check_out(out: Path) -> None:
    """Refuse a file that could not be written at the end.

    Raises:
        UserError: it ends otherwise, or its folder is not writable.
    """
    if out.suffix not in ENDINGS:
        raise ConfigError(f"--out must end with {' or '.join(ENDINGS)}, got {str(out)!r}")
    if out.is_dir():
        raise ConfigError(f"--out must be a file, but {str(out)!r} is a folder; name a file in it")
    writable_folder(out.parent)


def write_result(result: ReproductionResult, out: Path) -> list[Path]:
    """Write the result and return the files.

    Args:
        result: what was found.
        out: of an ending in ``ENDINGS``; the figures of Markdown lie in a folder called as it.
    """
    request = result.facts.plan.request
    title = f"The paper's claims on {request.dataset}, {request.form} form"
    sections = _drawn(result)
    if out.suffix == ".html":
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        made = f"Made {now} by stgcn-student-search {version('stgcn-student-search')}"
        write_bytes(out, page(title, made, sections, PAPER).encode())
        return [out]
    panels = [panel for section in sections.values() for panel in section.panels]
    folder = out.with_suffix("")
    files = []
    drawn = bool(panels) and has_browser()
    if drawn:
        files = write_figures(panels, writable_folder(folder), ("svg",))
    write_bytes(out, markdown(title, sections, folder.name if drawn else None).encode())
    return [out, *files]


def _drawn(result: ReproductionResult) -> dict[str, Section]:
    """Return the sections with figures, those of the paper's Figures 3 to 5 included."""
    sections = dict(result.sections)
    again = sections.pop("again")
    for table in result.facts.plan.tables:
        anchor = f"table-{table.name}"
        if table.kind == "forecasts":
            drawn = forecast_section(result.facts, table)
            if drawn is not None:
                sections["figures"] = drawn
            continue
        judged = result.verdicts.get(table.name, [])
        panels = table_panels(result.facts, table, judged, result.sizes)
        section = sections[anchor]
        first = 1 if judged else 0  # behind the table of claims
        blocks = (*section.blocks[:first], *panels, *section.blocks[first:])
        sections[anchor] = replace(section, blocks=blocks)
    return {**sections, "again": again}
