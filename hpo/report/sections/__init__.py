"""List the sections of a report in the order of the page.

Each is a function from facts to a section, or to None if these sweeps have nothing of the kind,
such as trajectories where nothing was pruned. To add one: write a file here with one function, and
a line in ``SECTIONS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hpo.report.facts import ReportFacts
from hpo.report.section import Section
from hpo.report.sections.again import again
from hpo.report.sections.errors import errors
from hpo.report.sections.failures import failures
from hpo.report.sections.forecasts import forecasts
from hpo.report.sections.fresh_seeds import fresh_seeds
from hpo.report.sections.hidden import hidden
from hpo.report.sections.history import history
from hpo.report.sections.importances import importances
from hpo.report.sections.intervals import intervals
from hpo.report.sections.learning import learning
from hpo.report.sections.map import error_map
from hpo.report.sections.parallel import parallel
from hpo.report.sections.pareto import pareto
from hpo.report.sections.pruning import pruning
from hpo.report.sections.result import result

Draw = Callable[[ReportFacts], Section | None]

SECTIONS: Final[dict[str, Draw]] = {
    "result": result,
    "seeds": fresh_seeds,
    "history": history,
    "pareto": pareto,
    "importances": importances,
    "parallel": parallel,
    "learning": learning,
    "errors": errors,
    "map": error_map,
    "forecasts": forecasts,
    "intervals": intervals,
    "hidden": hidden,
    "pruning": pruning,
    "failures": failures,
    "again": again,
}
"""Anchor on the page -> function that draws the section."""
