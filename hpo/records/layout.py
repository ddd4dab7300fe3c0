"""Name the files and folders of a storage: sweeps, their parts, teachers. Touches none of them.

STORAGE/NAME/sweep.json            settings, search space, fingerprints, baselines
STORAGE/NAME/driver.lock           locked by the process that drives
STORAGE/NAME/ledger.jsonl          ``hpo.records.ledger``
STORAGE/NAME/results/0007.parquet  ``hpo.records.trial_records``
STORAGE/NAME/records.parquet       all of them once a sweep has ended (``hpo.records.record_table``)
STORAGE/NAME/trials/0007/          student.safetensors, if kept (``hpo.records.kept_students``);
checkpoints/ while it runs; trajectory.json, if pruned; test_days.json (``hpo.reproduction``)
STORAGE/NAME/confirmation/         driver.lock, ledger.jsonl, results/ and trials/ of the best
configurations, trained again (``hpo.outcomes.confirmation_runs``)
STORAGE/NAME/exports/1-trial-0007/ ``hpo.outcomes.export_best``; after --confirmation called
1-trial-0007-run-0002
STORAGE/NAME/tensorboard/          ``hpo.outcomes.tensorboard_logs``
STORAGE/NAME/report.html           ``hpo.report``; comparison.html if of several sweeps
STORAGE/teachers/                  ``core.training.teachers``

In an object store there are also NAME/ledger/ in place of the ledger, and NAME/drivers/ (see
``hpo.storage``). What an export folder holds is named in ``core.export.manifest``.
"""

from __future__ import annotations

import re

from core.training.teacher_files import TEACHERS_FOLDER

PLAN = "sweep.json"
LOCK = "driver.lock"
RESULTS = "results"
RECORD_TABLE = "records.parquet"
LEDGER = "ledger.jsonl"
CONFIRMATION = "confirmation"
EXPORTS = "exports"
TRIALS = "trials"
CHECKPOINTS = "checkpoints"
STUDENT = "student.safetensors"
TRAJECTORY = "trajectory.json"
TEST_DAYS = "test_days.json"
TENSORBOARD = "tensorboard"
REPORT = "report.html"
REPORT_OF_SEVERAL = "comparison.html"
RESERVED_NAMES = (TEACHERS_FOLDER, CONFIRMATION)
"""Names that no sweep may have."""
PLANS = f"[!.]*/{PLAN}"
"""Pattern of the plans below a storage."""
RECORDS = "[0-9]*.parquet"
"""Pattern of the records among a sweep's results."""
EXPORT_FOLDERS = "[0-9]*-trial-*"
"""Pattern of the export folders among a sweep's exports."""
_EXPORT_FOLDER = re.compile(r"\d+-trial-(\d+)(-run-\d+)?")


def trial_folder(trial: int) -> str:
    """Return the name of a trial's folder, ``0007``; from 10,000 on it has more digits."""
    return f"{trial:04d}"


def record_file(trial: int) -> str:
    """Return the name of a trial's record, ``0007.parquet``."""
    return f"{trial:04d}.parquet"


def student_name(trial: int, run: int | None) -> str:
    """Return the name of an export after its rank, ``trial-0007`` or ``trial-0007-run-0002``.

    Args:
        trial: of the sweep.
        run: of its confirmation; None where the trial's own student is exported.
    """
    return f"trial-{trial:04d}" + ("" if run is None else f"-run-{run:04d}")


def export_folder(rank: int | str, student: str) -> str:
    """Return the name of an export folder, ``1-trial-0007``.

    Args:
        rank: of the student, or a pattern of ranks.
        student: what ``student_name`` returned.
    """
    return f"{rank}-{student}"


def rank_of_export(name: str) -> int:
    """Return the rank in a name that ``EXPORT_FOLDERS`` matches."""
    return int(re.split(r"[^0-9]", name, maxsplit=1)[0])


def trial_of_export(name: str) -> int | None:
    """Return the trial in the name of an export folder, or None if it names none."""
    found = _EXPORT_FOLDER.fullmatch(name)
    return None if found is None else int(found[1])
