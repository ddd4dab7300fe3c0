"""Render sections as one self-contained HTML page that loads nothing over a network.

Plotly's script is copied into the page once, as its Python package ships it: the whole bundle of
4.8 MB, the only one there. Draws nothing itself; the style is in ``page.css`` and ``palette``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from hpo.report import palette
from hpo.report.section import Panel, Section


def page(title: str, made: str, sections: Mapping[str, Section], paper: str = "") -> str:
    """Return the HTML of the page.

    Args:
        title: its heading.
        made: a line that says when and by which release it was made.
        sections: anchor -> section, in order.
        paper: the paper whose results figures mark; empty if none do.
    """
    environment = Environment(
        loader=PackageLoader("hpo", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        title=title,
        made=made,
        paper=paper,
        sections=[{"anchor": anchor, "content": content} for anchor, content in sections.items()],
        css=Markup(_own("page.css")),
        script=Markup(_own("page.js")),
        plotly=Markup(get_plotlyjs()),
        dark=_in_script(json.dumps(palette.DARK)),
        kind=lambda block: type(block).__name__,
        figure_json=_figure_json,
    )


def _figure_json(panel: Panel) -> Markup:
    return _in_script(panel.figure.to_json())


def _in_script(text: str) -> Markup:
    """Return JSON that cannot close the script element around it, whatever names it holds."""
    return Markup(text.replace("<", "\\u003c"))


def _own(name: str) -> str:
    return files("hpo.report").joinpath(name).read_text(encoding="utf-8")
