"""Hold the facts of a report as frozen values: sweeps, their students, evaluated networks.

Filled by ``gathering`` and ``networks``, read by every section. Reads and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from core.evaluation.coverage import Covered
from core.evaluation.error_breakdown import JudgedPart
from core.preprocessing.prepare import PreparedData
from core.preprocessing.windows import Part
from core.shapes import Rows
from core.training.teachers import Teacher
from hpo.records.confirmation import Confirmed
from hpo.records.ranked_trials import expected_luck
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.records.sweep_state import SweepState, Trial
from hpo.records.trial_records import TrialRecord
from hpo.report.paper import PaperResult

Role = Literal["student", "teacher", "repeat_last"]
ROLE_NAMES = {"repeat_last": "repeating the last reading", "teacher": "teacher"}
"""Labels of the baselines that every student is compared with."""


@dataclass(frozen=True)
class ShownStudent:
    """The student of a sweep that the report evaluates."""

    trial: int
    """Number of the trial that found its configuration."""
    file: Path
    """The file of its weights."""
    parameters: int
    run: int | None
    """Which run of its confirmation; None: the trial itself."""
    export: Path | None
    """Its export folder; None: it was not exported, and no test day may be looked at."""
    test: Mapping[str, Mapping[str, float]] | None
    """Errors on the test days as the export's manifest has them."""


@dataclass(frozen=True)
class ReportedSweep:
    """One sweep of the report, as its files record it."""

    folder: SweepFolder
    plan: SweepPlan
    """With the number of trials that was last asked for."""
    state: SweepState
    records: list[TrialRecord]
    """All trials that ended, by number."""
    ranked: list[TrialRecord]
    """The finished trials, the best first."""
    confirmed: list[Confirmed]
    """Configurations run on fresh seeds, the best mean first."""
    shown: ShownStudent | None
    """None if no student was kept."""
    driven: bool
    """Whether a process runs it now."""

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.folder.name

    @property
    def best(self) -> TrialRecord | None:
        """The finished trial with the lowest error."""
        return self.ranked[0] if self.ranked else None

    @property
    def best_confirmed(self) -> Confirmed | None:
        """The configuration with the lowest mean over fresh seeds."""
        return next((one for one in self.confirmed if one.finished), None)

    @property
    def standing(self) -> str:
        """``complete``, ``running`` or ``stopped``."""
        if self.state.num_ended >= self.plan.config.trials or not self.state.trials:
            return "complete"
        return "running" if self.driven else "stopped"

    @property
    def trials(self) -> Iterator[tuple[Trial, TrialRecord | None]]:
        """Every trial of the ledger, with its record if it has ended."""
        records = {record.trial: record for record in self.records}
        return ((trial, records.get(number)) for number, trial in self.state.trials.items())

    def with_status(self, *statuses: str) -> list[TrialRecord]:
        """Return the records of the trials that ended with one of these statuses."""
        return [record for record in self.records if record.status in statuses]


@dataclass(frozen=True)
class EvaluatedNetwork:
    """A network and its forecasts, evaluated for the report."""

    role: Role
    sweep: int | None
    """Position of the sweep whose student it is; None for the teacher and repeated readings."""
    label: str
    judged: JudgedPart
    hidden: Tensor | None
    """Hidden representations [windows, features]; None of repeated readings."""
    covered: Covered | None
    """By its prediction intervals; None unless it is a student on test days, which fitted none."""


@dataclass(frozen=True)
class Evaluation:
    """The networks of a report, evaluated on the same days."""

    part: Part
    """``test`` only if every sweep's shown student was exported, else ``validation``."""
    data: PreparedData
    networks: list[EvaluatedNetwork]
    """Students in the order of their sweeps, then the teacher, then repeated readings."""
    hidden_rows: Rows
    """First rows of the windows of ``EvaluatedNetwork.hidden``."""

    @property
    def students(self) -> list[EvaluatedNetwork]:
        """The students, one per sweep that has one."""
        return [network for network in self.networks if network.role == "student"]

    def of_role(self, role: Role) -> EvaluatedNetwork | None:
        """Return the first network with this role, if there is one."""
        return next((network for network in self.networks if network.role == role), None)

    @property
    def days(self) -> str:
        """The days evaluated, in words: ``the 4 test days``."""
        number = self.data.card.split[("train", "validation", "test").index(self.part)]
        return f"the {number} {self.part} days" if number > 1 else f"the {self.part} day"


@dataclass(frozen=True)
class ReportFacts:
    """All that the sections of a report draw from."""

    sweeps: list[ReportedSweep]
    metric: str
    """The error that trials are ranked by: the first sweep's first objective."""
    data: PreparedData | None
    """None if the dataset is gone or has changed; ``missing`` says which."""
    missing: str
    teacher: Teacher | None
    teacher_sizes: Mapping[str, float]
    """``parameters`` and ``flops``, and ``latency_ms`` where a trial has one; empty if unknown."""
    fixed_student: TrialRecord | None
    """The best trial of the storage with the paper's student of Table 1, on the same data."""
    paper: list[PaperResult]
    """The paper's results on the same sensors; empty for other data."""
    evaluation: Evaluation | None
    """None where no network could be evaluated."""

    @property
    def several(self) -> bool:
        """Whether the report compares several sweeps."""
        return len(self.sweeps) > 1

    @cached_property
    def unit(self) -> str:
        """Unit of the readings; empty if the dataset is gone."""
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

    @property
    def luck(self) -> float | None:
        """How lucky the best trial of a sweep is expected to be; None where nothing is confirmed.

        See ``hpo.records.ranked_trials.expected_luck``.
        """
        return expected_luck(one for sweep in self.sweeps for one in sweep.confirmed)

    def error_of(self, metrics: Mapping[str, Any]) -> float | None:
        """Return the report's ``metric`` among recorded metrics, if it is there."""
        value = metrics.get(self.metric)
        return None if value is None else float(value)
