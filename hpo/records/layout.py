"""Name the files and folders of a storage: sweeps, their parts, teachers. Touches none of them.

STORAGE/NAME/sweep.json            settings, search space, fingerprints, baselines
STORAGE/NAME/ledger.jsonl          ``hpo.records.ledger``
STORAGE/NAME/results/0007.parquet  ``hpo.records.trial_records``
STORAGE/NAME/trials/0007/          student.safetensors, if kept (``hpo.records.kept_students``);
checkpoints/ while it runs; trajectory.json, if pruned
STORAGE/NAME/confirmation/         ledger.jsonl, results/ and trials/ of the best
configurations, trained again (``hpo.outcomes.confirmation_runs``)
STORAGE/NAME/exports/              ``hpo.outcomes.export_best``
STORAGE/teachers/                  ``core.training.teachers``
"""

from __future__ import annotations

PLAN = "sweep.json"
LOCK = "driver.lock"
RESULTS = "results"
LEDGER = "ledger.jsonl"
CONFIRMATION = "confirmation"
EXPORTS = "exports"
TRIALS = "trials"
CHECKPOINTS = "checkpoints"
STUDENT = "student.safetensors"
TRAJECTORY = "trajectory.json"
TEACHERS = "teachers"
"""The one folder of a storage that is no sweep."""
RESERVED_NAMES = (TEACHERS, CONFIRMATION)
"""What no sweep may be called."""
