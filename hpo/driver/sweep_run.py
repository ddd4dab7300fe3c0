"""Hold everything that one run of a sweep needs: its folder, plan, data, cluster and observer.

Built once by whoever starts, resumes or confirms a sweep; the driver passes it on unchanged.
Runs and writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from core.preprocessing.prepare import PreparedData
from hpo.driver.observers import SweepObserver
from hpo.planning.networks import planned_sizes
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.search.fixed_runs import FixedRun
from hpo.trials.student_costs import LatencyOf
from hpo.trials.trial_settings import StudentSizes


@dataclass(frozen=True)
class SweepRun:
    """A sweep, or its confirmation, as one driver process runs it."""

    folder: SweepFolder
    """Of the sweep, or of its confirmation; the caller holds its lock."""
    plan: SweepPlan
    """Says how many trials there are to be."""
    data: PreparedData
    """What the plan was made for."""
    address: str = "local"
    """Of a Ray cluster."""
    observer: SweepObserver = field(default_factory=SweepObserver)
    deadline: float = math.inf
    """Of ``time.monotonic``; trials that still run then stay unfinished."""
    runs: Sequence[FixedRun] | None = None
    """Fixed runs in place of what a sampler suggests; None: a search."""
    latency_of: LatencyOf | None = None
    """Times a shape unless it was timed for the plan; None where the plan was read from disk."""

    @cached_property
    def sizes(self) -> StudentSizes:
        """The sizes of the sweep's students, from their settings."""
        return planned_sizes(self.plan, self.folder.storage, self.data)
