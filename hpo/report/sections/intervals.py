"""Draw how much of the test days the prediction intervals of exported students cover."""

from __future__ import annotations

from core.evaluation.coverage import Covered
from core.evaluation.intervals import COVERAGE, HOURS
from core.preprocessing.horizons import HORIZON_MINUTES
from hpo.report import palette
from hpo.report.charts import line_of, new_figure
from hpo.report.facts import EvaluatedNetwork, ReportFacts
from hpo.report.section import Panel, Section, Table

_NOTE = (
    "An interval should hold {coverage:.0f}\u00a0% of the readings. Its width is a quantile of the "
    "student's errors on validation days, by sensor, minutes ahead and the hour that is forecast "
    "(split conformal prediction). Days differ, so on test days it holds more or less."
)
Students = list[tuple[EvaluatedNetwork, Covered]]


def intervals(facts: ReportFacts) -> Section | None:
    """Draw coverage by hour; None unless students were evaluated on test days."""
    networks = [] if facts.evaluation is None else facts.evaluation.networks
    students = [(one, one.covered) for one in networks if one.covered is not None]
    if not students:
        return None
    blocks = (_table(students, facts.unit), _by_hour(students))
    note = _NOTE.format(coverage=100 * COVERAGE)
    return Section("How sure forecasts are", _sentence(students, facts.unit), blocks, note=note)


def _table(students: Students, unit: str) -> Table:
    heads = [f"{at} min: {what}" for at in HORIZON_MINUTES for what in ("inside, %", unit)]
    rows = []
    for network, covered in students:
        cells = [
            text
            for at in HORIZON_MINUTES
            for text in (f"{100 * covered.share[at]:.1f}", f"{covered.width[at]:.1f} wide")
        ]
        rows.append((network.label, *cells))
    return Table(("student", *heads), tuple(rows), numeric=tuple(range(1, len(heads) + 1)))


def _by_hour(students: Students) -> Panel:
    figure = new_figure("hour of the day that was forecast", "readings inside (%)", height=360)
    figure.update_xaxes(tickvals=list(range(0, HOURS, 3)), range=[-0.3, HOURS - 0.7])
    for minutes in HORIZON_MINUTES:
        for network, covered in students:
            figure.add_scatter(
                x=list(range(HOURS)),
                y=100 * covered.by_hour[minutes],
                meta=f"{minutes} min",
                visible=minutes == HORIZON_MINUTES[-1],
                mode="lines",
                name=network.label,
                line=line_of(network),
                hovertemplate=f"{network.label}, from %{{x}}:00: %{{y:.1f}} %<extra></extra>",
            )
    figure.add_scatter(
        x=[0, HOURS - 1],
        y=[100 * COVERAGE] * 2,
        mode="lines",
        name=f"promised, {100 * COVERAGE:.0f} %",
        line={"color": palette.MUTED, "width": 1, "dash": "dot"},
        hoverinfo="skip",
    )
    labels = ", ".join(network.label for network, _ in students)
    summary = f"Lines of the share of readings inside the intervals by hour of the day: {labels}."
    choices = tuple(f"{minutes} min" for minutes in HORIZON_MINUTES)
    title = "Readings inside the interval by hour of the day"
    return Panel("intervals-by-hour", title, figure, summary, choices=choices)


def _sentence(students: Students, unit: str) -> str:
    _, covered = students[0]
    last = HORIZON_MINUTES[-1]
    return (
        f"At {last} minutes {100 * covered.share[last]:.1f}\u00a0% of the test days' readings lie "
        f"within \u00b1{covered.width[last] / 2:.1f} {unit} of the forecast in the mean, of "
        f"{100 * COVERAGE:.0f}\u00a0% promised."
    )
