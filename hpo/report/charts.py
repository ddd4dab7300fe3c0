"""Style the figures of a report alike: layout, axes, baselines.

Every figure is an ordinary Plotly figure in the light colours of ``palette``. Draws no data but
the lines of the baselines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import plotly.graph_objects as go

from hpo.report import palette
from hpo.report.facts import ROLE_NAMES, EvaluatedNetwork, ReportFacts
from hpo.report.wording import setting_text

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
T = TypeVar("T")
MOST_LINES = 200
"""Of one kind in a figure."""
HEIGHT = 400
"""Pixels of a figure with a legend."""
_AXIS: dict[str, Any] = {
    "gridcolor": palette.GRID,
    "zeroline": False,
    "linecolor": palette.FAINT,
    "ticks": "outside",
    "ticklen": 4,
    "tickcolor": palette.FAINT,
    "tickfont": {"color": palette.MUTED, "size": 12},
    "title": {"font": {"color": palette.MUTED, "size": 13}, "standoff": 10},
    "automargin": True,
}


def new_figure(x: str, y: str, height: int = HEIGHT, **layout: Any) -> go.Figure:
    """Return an empty figure in the common style.

    Args:
        x: title of the horizontal axis, with its unit.
        y: of the vertical one.
        height: in pixels; the width follows the page.
        layout: further entries of Plotly's layout.
    """
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 12, "t": 8, "b": 8},
        paper_bgcolor=palette.CARD,
        plot_bgcolor=palette.CARD,
        font={"family": FONT, "size": 13, "color": palette.INK},
        hovermode="closest",
        hoverlabel={
            "bgcolor": palette.CARD,
            "bordercolor": palette.FAINT,
            "font": {"family": FONT, "size": 13, "color": palette.INK},
            "align": "left",
            "namelength": -1,
        },
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"size": 12.5, "color": palette.INK},
            "itemsizing": "constant",
            "bgcolor": "rgba(0,0,0,0)",
        },
        dragmode=False,
        showlegend=True,
    )
    figure.update_xaxes(_AXIS)
    figure.update_yaxes(_AXIS)
    figure.update_xaxes(title_text=x, showgrid=False)
    figure.update_yaxes(title_text=y)
    figure.update_layout(**layout)
    return figure


def count_along(figure: go.Figure, last: int, first: int = 0) -> None:
    """Put whole numbers alone on the horizontal axis, for trials or epochs up to ``last``."""
    room = 0.02 * last + 0.3
    step = next(
        one * 10**power for power in range(9) for one in (1, 2, 5) if one * 10**power * 10 >= last
    )
    figure.update_xaxes(tickformat="d", dtick=step, tick0=0, range=[first - room, last + room])


def settings_lines(settings: Mapping[str, Any]) -> str:
    """Return settings, one per line, for a tooltip."""
    return "<br>".join(f"{name} {setting_text(value)}" for name, value in settings.items())


def thinned(things: Sequence[T]) -> list[T]:
    """Return at most ``MOST_LINES`` of them, evenly spaced from the first, to keep pages small."""
    step = max(1, math.ceil(len(things) / MOST_LINES))
    return list(things[::step])


def baseline(figure: go.Figure, facts: ReportFacts, name: str) -> None:
    """Draw one of ``facts.baselines`` as a line across the figure, if it is known."""
    level = facts.baselines.get(name)
    if level is None:
        return
    color = {"teacher": palette.TEACHER, "repeat_last": palette.REPEAT_LAST}[name]
    figure.add_hline(y=level, line={"color": color, "width": 1.5, "dash": "dot"})
    # A line of the layout has neither legend nor tooltip.
    figure.add_trace(
        go.Scatter(
            x=[None],
            y=[None],
            mode="lines",
            name=f"{ROLE_NAMES[name]}, {level:.2f}",
            line={"color": color, "width": 1.5, "dash": "dot"},
        )
    )


def line_of(network: EvaluatedNetwork) -> dict[str, Any]:
    """Return the line style that a network has in every figure."""
    if network.sweep is not None:
        return {
            "color": palette.sweep_color(network.sweep),
            "dash": palette.sweep_dash(network.sweep),
            "width": 2.2,
        }
    if network.role == "teacher":
        return {"color": palette.TEACHER, "dash": "solid", "width": 1.6}
    return {"color": palette.REPEAT_LAST, "dash": "dot", "width": 1.6}
