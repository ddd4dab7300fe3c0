"""What a report knows, as frozen values: its sweeps, their students, and what those forecast.

Made by ``gathering`` and ``networks``, read by every section. Reads and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from core.evaluation.error_breakdown import JudgedPart
from core.preprocessing.prepare import PreparedData
from core.preprocessing.windows import Part
from core.shapes import Rows
from core.training.teachers import Teacher
from hpo.records.confirmation import Confirmed
from hpo.records.ledger import SweepState, Trial
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.records.trial_records import TrialRecord
from hpo.report.paper import PaperResult

Role = Literal["student", "teacher", "repeat_last"]
ROLE_NAMES = {"repeat_last": "repeating the last reading", "teacher": "teacher"}
"""Of what every student is held against."""


@dataclass(frozen=True)
class ShownStudent:
    """The one student of a sweep that the report looks into."""

    trial: int
    """The sweep's trial that found its configuration."""
    file: Path
    """Of its weights."""
    parameters: int
    export: Path | None
    """Its export folder; None: it was not exported, and no test day may be looked at."""
    test: Mapping[str, Mapping[str, float]] | None
    """Errors on the test days as the export's manifest has them."""


@dataclass(frozen=True)
class ReportedSweep:
    """One sweep of the report, as its files have it."""

    folder: SweepFolder
    plan: SweepPlan
    """With as many trials as were asked for since it began."""
    state: SweepState
    records: list[TrialRecord]
    """Of all trials that ended, by number."""
    ranked: list[TrialRecord]
    """Of the finished ones, the best first."""
    confirmed: list[Confirmed]
    """The best mean first."""
    shown: ShownStudent | None
    """None if no student is left to look at."""
    driven: bool
    """Whether a process drives it now."""

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.folder.name

    @property
    def best(self) -> TrialRecord | None:
        """The finished trial with the lowest error."""
        return self.ranked[0] if self.ranked else None

    @property
    def standing(self) -> str:
        """``complete``, ``running`` or ``stopped``."""
        if self.state.num_ended >= self.plan.config.trials or not self.state.trials:
            return "complete"
        return "running" if self.driven else "stopped"

    @property
    def trials(self) -> Iterator[tuple[Trial, TrialRecord | None]]:
        """Every trial of the ledger, with its record once it ended."""
        records = {record.trial: record for record in self.records}
        return ((trial, records.get(number)) for number, trial in self.state.trials.items())

    def with_status(self, *statuses: str) -> list[TrialRecord]:
        """Return the records of trials that ended so."""
        return [record for record in self.records if record.status in statuses]


@dataclass(frozen=True)
class LookedAt:
    """A network that was run for the report."""

    role: Role
    sweep: int | None
    """Whose student it is, by position; None for teacher and repeated readings."""
    label: str
    judged: JudgedPart
    hidden: Tensor | None
    """[windows of the map, features]; None of repeated readings."""


@dataclass(frozen=True)
class Look:
    """The networks of a report on the same days."""

    part: Part
    """``test`` only if every sweep's shown student was exported, else ``validation``."""
    data: PreparedData
    networks: list[LookedAt]
    """Students in the order of their sweeps, then the teacher, then repeated readings."""
    hidden_rows: Rows
    """First rows of the windows of ``LookedAt.hidden``."""

    @property
    def students(self) -> list[LookedAt]:
        """One per sweep that has one."""
        return [network for network in self.networks if network.role == "student"]

    def of_role(self, role: Role) -> LookedAt | None:
        """Return the first network of a role."""
        return next((network for network in self.networks if network.role == role), None)

    @property
    def days(self) -> str:
        """``the 4 test days``."""
        number = self.data.card.split[("train", "validation", "test").index(self.part)]
        return f"the {number} {self.part} days" if number > 1 else f"the {self.part} day"


@dataclass(frozen=True)
class ReportFacts:
    """Everything that sections draw from."""

    sweeps: list[ReportedSweep]
    metric: str
    """The error that all trials are held against: the first sweep's first objective."""
    data: PreparedData | None
    """None if the dataset is gone or has changed; ``missing`` says which."""
    missing: str
    teacher: Teacher | None
    teacher_sizes: Mapping[str, float]
    """``parameters`` and ``flops``, and ``latency_ms`` where a trial has one; empty where they are
    not known."""
    fixed_student: TrialRecord | None
    """The best trial of the storage with the student of Table 1, on the same data."""
    paper: list[PaperResult]
    """Results on the same sensors; empty for data that the paper has not."""
    look: Look | None
    """None where no network could be run."""

    @property
    def several(self) -> bool:
        """Whether sweeps are held side by side."""
        return len(self.sweeps) > 1

    @cached_property
    def unit(self) -> str:
        """Of the readings."""
        return self.data.card.unit if self.data is not None else ""

    @cached_property
    def baselines(self) -> dict[str, float]:
        """``teacher`` and ``repeat_last``: their validation ``metric``, where known."""
        known = [sweep.plan.baselines for sweep in self.sweeps]
        found = {
            name: errors[self.metric]
            for baselines in reversed(known)
            for name, errors in baselines.items()
            if self.metric in errors
        }
        if self.teacher is not None and self.metric in self.teacher.metrics:
            found["teacher"] = self.teacher.metrics[self.metric]
        return found

    def error_of(self, metrics: Mapping[str, Any]) -> float | None:
        """Return ``metric`` of recorded metrics, if it is there."""
        value = metrics.get(self.metric)
        return None if value is None else float(value)
