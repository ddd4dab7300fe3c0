"""The best students of a sweep in, export folders out.

    STORAGE/NAME/exports/1-trial-0007/      ``core.export``; its rank when it was exported

Each student is exported once, so the test days are looked at once; asked for again, it is
returned or copied. Which trials are best is told by the records (``hpo.selection``).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.checkpoint import load_model
from core.datasets.loading import load_dataset
from core.errors import ConfigError, ExportError
from core.export import StudentFacts, export_student, open_export, read_manifest
from core.files import folder_written_aside, writable_folder
from core.forecasting import evaluate
from core.preprocessing.prepare import PreparedData
from core.teachers import open_teacher, teacher_folder
from hpo.planning import open_planned_data
from hpo.results import TrialRecord, read_records
from hpo.selection import best, ranked_records
from hpo.sweep_store import SweepFolder, SweepPlan, find_sweep


def export_best(folder: SweepFolder, top: int, out: Path | None = None) -> list[Path]:
    """Export the best finished trials of a sweep by its own objective.

    Args:
        folder: the sweep.
        top: how many; fewer come back if fewer have finished.
        out: where copies go as well; None: they lie in the sweep's own ``exports`` alone.

    Returns:
        The export folders, the best first.

    Raises:
        ExportError: no trial has finished, its student is gone, or ``out`` holds something else
            where a copy belongs.
    """
    sweep = _ExportedSweep(folder)
    trials = [record.trial for record in sweep.ranked]
    if top < 1:
        raise ConfigError(f"--top must be at least 1, got {top}")
    if not trials:
        raise ExportError(
            f"a sweep needs a finished trial to export, but {folder.name!r} has none; see "
            f"`hpo status {folder.name}`"
        )
    exports = [sweep.export(trial) for trial in trials[:top]]
    return exports if out is None else [_copied(path, out / path.name) for path in exports]


def export_dataset_best(
    dataset: str, storage: Path, top: int, out: Path | None = None
) -> list[Path]:
    """Export the best finished trials over all sweeps of a dataset by validation MAE.

    Copies in ``out`` are called ``<rank>-<sweep>-trial-0007``. Otherwise like ``export_best``.
    """
    rows = best(dataset, storage, top=top)
    if not rows:
        raise ExportError(
            f"dataset {dataset!r} needs a finished trial to export, but has none; see `hpo status`"
        )
    sweeps = {row["sweep"]: _ExportedSweep(find_sweep(storage, row["sweep"])) for row in rows}
    exports = [sweeps[row["sweep"]].export(row["trial"]) for row in rows]
    if out is None:
        return exports
    names = [f"{row['rank']}-{row['sweep']}-trial-{row['trial']:04d}" for row in rows]
    return [_copied(path, out / name) for path, name in zip(exports, names, strict=True)]


@dataclass(frozen=True)
class _ExportedSweep:
    """A sweep and what all its exports share, read when the first needs it."""

    folder: SweepFolder

    @cached_property
    def plan(self) -> SweepPlan:
        return self.folder.read_plan()

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        return ranked_records(read_records(self.folder.results), self.plan.config.metric)

    @cached_property
    def data(self) -> PreparedData:
        return open_planned_data(self.plan)

    @cached_property
    def teacher_test(self) -> dict[str, float] | None:
        """The teacher's test errors, if there was one and it is still there."""
        if self.plan.teacher_fingerprint is None:
            return None
        folder = teacher_folder(self.folder.storage, self.plan.teacher_fingerprint)
        if not (folder / "teacher.safetensors").is_file():
            return None
        return evaluate(open_teacher(folder).load(self.data), self.data, "test")

    def export(self, trial: int) -> Path:
        """Export a trial, or return the export that is there."""
        ranks = {record.trial: rank for rank, record in enumerate(self.ranked, start=1)}
        record = self.ranked[ranks[trial] - 1]
        lineage = self._lineage(record)
        exports = writable_folder(self.folder.path / "exports")
        for path in sorted(exports.glob(f"[0-9]*-trial-{trial:04d}")):
            if _is_export_of(path, lineage):
                return path
        path = exports / f"{ranks[trial]}-trial-{trial:04d}"
        self._write(path, record, lineage)
        return path

    def _write(self, path: Path, record: TrialRecord, lineage: dict[str, Any]) -> None:
        student = self.folder.student(record.trial)
        if not student.is_file():
            raise ExportError(
                f"trial {record.trial} of {record.sweep!r} must have a student at {student}, but "
                "it is gone; restore it from a copy"
            )
        model, _ = load_model(student, self.data.graph_kernel)
        settings = {"method": record.method, **record.configuration}
        dataset = load_dataset(Path(self.plan.data_folder), record.dataset)
        facts = StudentFacts(settings, record.metrics, lineage, self.teacher_test)
        export_student(path, model, self.data, dataset.adjacency, facts)

    def _lineage(self, record: TrialRecord) -> dict[str, Any]:
        base = self.plan.base_fingerprint
        return {
            **({} if base is None else {"base_fingerprint": base}),
            "dataset": record.dataset,
            "dataset_fingerprint": record.dataset_fingerprint,
            "teacher_fingerprint": record.teacher_fingerprint,
            "space_fingerprint": record.space_fingerprint,
            "sweep": record.sweep,
            "trial": record.trial,
            "seed": record.seed,
            "best_epoch": record.best_epoch,
            "ended": record.ended,
            "machine": record.machine,
            "versions": record.versions,
            "command": self.plan.command,
        }


def _is_export_of(path: Path, lineage: dict[str, Any]) -> bool:
    try:
        return bool(open_export(path).manifest["lineage"] == lineage)
    except (ExportError, KeyError):
        return False


def _copied(source: Path, target: Path) -> Path:
    if target.exists():
        if _is_export_of(target, read_manifest(source)["lineage"]):
            return target
        raise ExportError(f"{target} must not exist yet, but holds something; choose another --out")
    writable_folder(target.parent)
    with folder_written_aside(target) as aside:
        shutil.copytree(source, aside, dirs_exist_ok=True)
    return target
