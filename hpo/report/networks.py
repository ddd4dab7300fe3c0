"""What is known of sweeps in, the same with their students' and the teacher's forecasts out.

Test days were looked at when a student was exported, so they are used only where every sweep's
shown student was exported; otherwise validation days are. Decides nothing else and trains nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from core.checkpoint import load_model
from core.evaluation.error_breakdown import hidden_representations, judge
from core.preprocessing.prepare import PreparedData
from core.preprocessing.windows import Part, window_rows
from core.shapes import Rows
from core.stgcn import STGCN
from hpo.report.facts import ROLE_NAMES, Look, LookedAt, ReportFacts, Role

POINTS = 50
"""Windows in the map of hidden representations."""
OnNetwork = Callable[[str], None]
"""Told the name of each network before it is run."""


def look_into(facts: ReportFacts, on_network: OnNetwork = lambda _: None) -> ReportFacts:
    """Run the shown students, the teacher and repeated readings over the same days.

    Args:
        facts: as gathered; come back as they are if there is no student or no data left.
        on_network: see ``OnNetwork``; the teacher takes the longest.
    """
    shown = [sweep.shown for sweep in facts.sweeps if sweep.shown is not None]
    if facts.data is None or not shown:
        return facts
    part: Part = "test" if all(one.export is not None for one in shown) else "validation"
    look = Look(part, facts.data, [], _map_rows(facts.data, part))
    for at, sweep in enumerate(facts.sweeps):
        if sweep.shown is not None:
            on_network(f"the student of {sweep.name}")
            model, _ = load_model(sweep.shown.file, facts.data.graph_kernel)
            label = sweep.name if facts.several else "student"
            look.networks.append(_looked_at(model, look, "student", at, label))
    if facts.teacher is not None:
        on_network("the teacher")
        model = facts.teacher.load(facts.data)
        look.networks.append(_looked_at(model, look, "teacher", None, ROLE_NAMES["teacher"]))
    repeated = judge(None, facts.data, part)
    label = ROLE_NAMES["repeat_last"]
    look.networks.append(LookedAt("repeat_last", None, label, repeated, hidden=None))
    return replace(facts, look=look)


def _looked_at(model: STGCN, look: Look, role: Role, sweep: int | None, label: str) -> LookedAt:
    hidden = hidden_representations(model, look.data, look.hidden_rows)
    return LookedAt(role, sweep, label, judge(model, look.data, look.part), hidden)


def _map_rows(data: PreparedData, part: Part) -> Rows:
    """Return the first rows of ``POINTS`` windows, or of all there are, at even distances."""
    rows = window_rows(data.stretches(part), data.window_steps)
    points = min(POINTS, len(rows))
    return rows[[len(rows) * point // points for point in range(points)]]
