"""Write a trial's record when it ends, then delete its checkpoints.

A record joins what the worker reported with what the sweep's plan fixed. Decides nothing: how the
trial ended is said by the caller.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from core.errors import UserError
from hpo.driver.sweep_run import SweepRun
from hpo.records.ledger import now
from hpo.records.sweep_state import Trial
from hpo.records.trial_files import clear_checkpoints, has_student
from hpo.records.trial_records import TrialRecord, write_record
from hpo.space.objectives import LATENCY

_PACKAGES = ("stgcn-student-search", "torch", "ray", "optuna", "numpy")


class Recorder:
    """Writes the records of one sweep."""

    def __init__(self, run: SweepRun) -> None:
        """Look up once what all records of ``run`` share."""
        self.run = run
        self.versions = {name: version(name) for name in _PACKAGES}
        self.versions["python"] = platform.python_version()

    def write(self, trial: Trial, status: str, reason: str | None, facts: dict[str, Any]) -> None:
        """Write the record of an ended trial.

        Args:
            trial: its state in the ledger.
            status: ``finished``, ``pruned``, ``failed`` or ``infeasible``.
            reason: why it failed or is infeasible.
            facts: ``metrics`` of the best epoch, and where known ``epoch``, ``best_epoch``,
                ``seconds``, ``machine``, ``parameters``, ``flops`` and ``latency_ms``.
        """
        folder, plan = self.run.folder, self.run.plan
        student = folder.student(trial.number)
        size = facts if "parameters" in facts else self._size(trial)
        kept = status == "finished" and has_student(folder, trial.number)
        record = TrialRecord(
            sweep=folder.name,
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
            student=str(student.relative_to(folder.storage)) if kept else None,
            versions=self.versions,
            machine=facts.get("machine", platform.node()),
            loss=plan.config.loss_name if plan.config.base_name else None,
            base=plan.config.base_name,
            form=trial.settings.get("form", plan.config.form),
            family=plan.config.family,
            latency_ms=facts.get(LATENCY),
        )
        folder.publish(write_record(folder.results, record))
        # Not earlier: after a crash before this line the trial resumes from them.
        clear_checkpoints(folder, trial.number)

    def _size(self, trial: Trial) -> dict[str, int]:
        try:
            return self.run.sizes.of(trial.settings)
        except UserError:  # no student can come of these settings
            return {"parameters": 0, "flops": 0}
