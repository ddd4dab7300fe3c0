"""How a trial ended in, its record on the disk out, its checkpoints gone.

Joins what the worker reported with what the sweep fixed when it began. Decides nothing.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from core.errors import UserError
from core.preprocessing.prepare import PreparedData
from hpo.planning.networks import planned_sizes
from hpo.records.ledger import Trial, now
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.records.trial_files import clear_checkpoints, has_student
from hpo.records.trial_records import TrialRecord, write_record
from hpo.space.objectives import LATENCY

_PACKAGES = ("stgcn-student-search", "torch", "ray", "optuna", "numpy")


class Recorder:
    """Writes the records of one sweep."""

    def __init__(self, folder: SweepFolder, plan: SweepPlan, data: PreparedData) -> None:
        """Find out once what all records share; ``data`` are the sweep's."""
        self.folder, self.plan = folder, plan
        self.sizes = planned_sizes(plan, folder.storage, data)
        self.versions = {name: version(name) for name in _PACKAGES}
        self.versions["python"] = platform.python_version()

    def write(self, trial: Trial, status: str, reason: str | None, facts: dict[str, Any]) -> None:
        """Write the record of an ended trial.

        Args:
            trial: as the ledger knows it.
            status: ``finished``, ``pruned``, ``failed`` or ``infeasible``.
            reason: why it failed or is infeasible.
            facts: ``metrics`` of the best epoch, and where known ``epoch``, ``best_epoch``,
                ``seconds``, ``machine``, ``parameters``, ``flops`` and ``latency_ms``.
        """
        plan, student = self.plan, self.folder.student(trial.number)
        size = facts if "parameters" in facts else self._size(trial)
        kept = status == "finished" and has_student(self.folder, trial.number)
        record = TrialRecord(
            sweep=self.folder.name,
            trial=trial.number,
            status=status,
            reason=reason,
            dataset=plan.config.dataset,
            method=plan.config.method,
            settings=trial.settings,
            metrics=facts["metrics"],
            parameters=size["parameters"],
            flops=size["flops"],
            epochs=facts.get("epoch", 0),
            best_epoch=facts.get("best_epoch", 0),
            seconds=facts.get("seconds", 0.0),
            seed=trial.seed,
            started=trial.suggested,
            ended=now(),
            dataset_fingerprint=plan.dataset_fingerprint,
            teacher_fingerprint=plan.teacher_fingerprint,
            space_fingerprint=plan.space.fingerprint,
            student=str(student.relative_to(self.folder.storage)) if kept else None,
            versions=self.versions,
            machine=facts.get("machine", platform.node()),
            loss=plan.config.loss_name if plan.config.base_name else None,
            base=plan.config.base_name,
            latency_ms=facts.get(LATENCY),
        )
        self.folder.publish(write_record(self.folder.results, record))
        # Only now does nobody need them: a crash before this line resumes the trial.
        clear_checkpoints(self.folder, trial.number)

    def _size(self, trial: Trial) -> dict[str, int]:
        try:
            return self.sizes.of(trial.settings)
        except UserError:  # no student can come of these settings
            return {"parameters": 0, "flops": 0}
