"""Evaluate the shown students, the teacher and repeated readings on the same days.

Test days are used only if every sweep's shown student was exported, for they were looked at then;
otherwise validation days are. Trains nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from core.checkpoint import load_model
from core.ensemble import Network
from core.evaluation.coverage import fit_intervals, measure_coverage
from core.evaluation.error_breakdown import hidden_representations, judge
from core.preprocessing.prepare import PreparedData
from core.preprocessing.windows import Part, window_rows
from core.shapes import Rows
from hpo.report.facts import ROLE_NAMES, EvaluatedNetwork, Evaluation, ReportFacts, Role

POINTS = 50
"""Number of windows in the map of hidden representations."""
OnNetwork = Callable[[str], None]
"""Called with the name of each network before it is evaluated."""


def evaluate_networks(facts: ReportFacts, on_network: OnNetwork = lambda _: None) -> ReportFacts:
    """Return the facts with the evaluated networks.

    Args:
        facts: as gathered; returned unchanged if no student or no dataset is left.
        on_network: see ``OnNetwork``; the teacher takes the longest.
    """
    shown = [sweep.shown for sweep in facts.sweeps if sweep.shown is not None]
    if facts.data is None or not shown:
        return facts
    part: Part = "test" if all(one.export is not None for one in shown) else "validation"
    evaluation = Evaluation(part, facts.data, [], _map_rows(facts.data, part))
    for at, sweep in enumerate(facts.sweeps):
        if sweep.shown is not None:
            on_network(f"the student of {sweep.name}")
            model: Network = load_model(sweep.shown.file, facts.data.graph_kernel)[0]
            label = sweep.name if facts.several else "student"
            evaluation.networks.append(_evaluated(model, evaluation, "student", at, label))
    if facts.teacher is not None:
        on_network("the teacher")
        model = facts.teacher.load(facts.data)
        evaluation.networks.append(
            _evaluated(model, evaluation, "teacher", None, ROLE_NAMES["teacher"])
        )
    repeated = judge(None, facts.data, part)
    label = ROLE_NAMES["repeat_last"]
    evaluation.networks.append(
        EvaluatedNetwork("repeat_last", None, label, repeated, hidden=None, covered=None)
    )
    return replace(facts, evaluation=evaluation)


def _evaluated(
    model: Network, evaluation: Evaluation, role: Role, sweep: int | None, label: str
) -> EvaluatedNetwork:
    data, part = evaluation.data, evaluation.part
    hidden = hidden_representations(model, data, evaluation.hidden_rows)
    covered = None
    if role == "student" and part == "test":
        fitted = fit_intervals(model, data, "validation")
        covered = measure_coverage(model, data, data.stretches(part), fitted)
    return EvaluatedNetwork(role, sweep, label, judge(model, data, part), hidden, covered)


def _map_rows(data: PreparedData, part: Part) -> Rows:
    """Return the first rows of ``POINTS`` evenly spaced windows, or of all if there are fewer."""
    rows = window_rows(data.stretches(part), data.window_steps)
    points = min(POINTS, len(rows))
    return rows[[len(rows) * point // points for point in range(points)]]
