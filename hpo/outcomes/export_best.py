"""Export the best students of a sweep as self-contained folders.

    STORAGE/NAME/exports/1-trial-0007/           ``core.export``; its rank when exported
    STORAGE/NAME/exports/1-trial-0007-run-0002/  the best run of a confirmed configuration

Confirmed configurations are ranked by their mean over fresh seeds (``hpo.records.confirmation``),
and of the best one the run with the lowest validation error is exported. Each student is exported
once, so the test days are evaluated once; asked for again, it is returned or copied. Ranks by the
trials' records; trains and confirms nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.checkpoint import load_model
from core.datasets.loading import load_dataset
from core.errors import ConfigError, ExportError, StorageError
from core.evaluation.forecasting import evaluate
from core.export.export_folder import StudentFacts, export_student, open_export
from core.export.manifest import read_manifest
from core.files import folder_written_aside, log_left_out, writable_folder
from core.preprocessing.prepare import PreparedData
from core.training.teacher_files import TEACHER_FILE, teacher_folder
from core.training.teachers import open_teacher
from hpo.planning.sweep_planning import open_planned_data
from hpo.records import layout
from hpo.records.confirmation import Confirmed, confirmed
from hpo.records.ranking import no_student, ranked_records
from hpo.records.sweep_folder import SweepFolder, find_sweep
from hpo.records.sweep_plan import SweepPlan
from hpo.records.sync.sweep_sync import download_exports, publish_export
from hpo.records.trial_files import download_student, has_student
from hpo.records.trial_records import TrialRecord, read_records
from hpo.selection import records_of

OnStudent = Callable[[str, int, int], None]
"""Called before each student that has no export: what begins, how many are done, of how many."""


def export_best(
    folder: SweepFolder,
    top: int,
    out: Path | None = None,
    *,
    confirmed: bool = False,
    on_student: OnStudent = lambda *_: None,
) -> list[Path]:
    """Export the best students of a sweep by its own objective.

    Args:
        folder: the sweep.
        top: how many; fewer come back if fewer have finished.
        out: folder of additional copies; None: only the sweep's own ``exports``.
        confirmed: only confirmed configurations, ranked by their confirmation runs alone.
        on_student: see ``OnStudent``.

    Returns:
        The export folders, the best first.

    Raises:
        ExportError: no trial has finished or is confirmed, its student is gone, or ``out`` holds
            something else where a copy belongs.
    """
    sweep = _ExportedSweep(folder)
    winners = (sweep.confirmed if confirmed else sweep.searched)[:top]
    if top < 1:
        raise ConfigError(f"--top must be at least 1, got {top}")
    if not winners:
        raise _nothing_to_export(f"sweep {folder.name!r}", [sweep], confirmed, folder.name)
    sweep.check_students(winners)
    exports = _exported([(sweep, winner) for winner in winners], on_student)
    return exports if out is None else [_copied(path, out / path.name) for path in exports]


def export_dataset_best(
    dataset: str,
    storage: Path,
    top: int,
    out: Path | None = None,
    *,
    confirmed: bool = False,
    on_student: OnStudent = lambda *_: None,
) -> list[Path]:
    """Export the best students over all sweeps of a dataset by validation MAE.

    Copies in ``out`` are called ``<rank>-<sweep>-trial-0007``. Otherwise like ``export_best``.
    """
    names = list(dict.fromkeys(record.sweep for record in records_of(dataset, storage)))
    sweeps = _readable([_ExportedSweep(find_sweep(storage, name), "val_mae") for name in names])
    found = [
        (sweep, winner)
        for sweep in sweeps
        for winner in (sweep.confirmed if confirmed else sweep.searched)
    ]
    found.sort(key=lambda pair: pair[1].order)
    if not found:
        raise _nothing_to_export(f"dataset {dataset!r}", sweeps, confirmed, "NAME")
    for sweep in sweeps:
        sweep.check_students([winner for owner, winner in found[:top] if owner is sweep])
    exports = _exported(found[:top], on_student)
    if out is None:
        return exports
    copies = [
        f"{rank}-{sweep.folder.name}-{winner.name}"
        for rank, (sweep, winner) in enumerate(found[:top], start=1)
    ]
    return [_copied(path, out / name) for path, name in zip(exports, copies, strict=True)]


def _exported(
    winners: Sequence[tuple[_ExportedSweep, _Winner]], on_student: OnStudent
) -> list[Path]:
    exports = [sweep.exported(winner) for sweep, winner in winners]
    missing = [at for at, path in enumerate(exports) if path is None]
    for done, at in enumerate(missing):
        sweep, winner = winners[at]
        on_student(f"exporting trial {winner.trial} of {sweep.folder.name}", done, len(missing))
        exports[at] = sweep.export(winner)
    return [path for path in exports if path is not None]


def _readable(sweeps: Sequence[_ExportedSweep]) -> list[_ExportedSweep]:
    """Return the sweeps whose plan is whole; the others are left out, and said to be."""
    whole = []
    for sweep in sweeps:
        try:
            sweep.folder.read_plan()
        except StorageError as error:
            log_left_out(f"sweep {sweep.folder.name!r}", error)
        else:
            whole.append(sweep)
    return whole


def _nothing_to_export(
    what: str, sweeps: Sequence[_ExportedSweep], confirmed: bool, name: str
) -> ExportError:
    if not confirmed or not any(sweep.ranked for sweep in sweeps):
        records = [record for sweep in sweeps for record in sweep.records]
        return ExportError(no_student(what, records, "hpo status"))
    runs = [run for sweep in sweeps for run in read_records(sweep.folder.confirmation.results)]
    if runs:
        see = "hpo export --unconfirmed"
        return ExportError(no_student(f"the confirmation of {what}", runs, see))
    return ExportError(
        f"{what} needs a confirmed configuration to export, but has none; run `hpo confirm "
        f"{name}`, or export with --unconfirmed"
    )


@dataclass(frozen=True)
class _Winner:
    """A student to be exported."""

    record: TrialRecord
    """Of the run that trained it."""
    trial: int
    """Number of the sweep's trial that found its configuration."""
    rank: int
    """In its sweep."""
    order: tuple[bool, float, str, int]
    """Sort key among winners of several sweeps."""
    confirmed: Confirmed | None

    @property
    def name(self) -> str:
        """The name of its folder without the rank."""
        run = None if self.confirmed is None else self.record.trial
        return layout.student_name(self.trial, run)


@dataclass(frozen=True)
class _ExportedSweep:
    """A sweep and what all its exports share, read when first needed."""

    folder: SweepFolder
    judged_by: str | None = None
    """The metric that ranks; None: the sweep's own."""

    @cached_property
    def plan(self) -> SweepPlan:
        return self.folder.read_plan()

    @property
    def metric(self) -> str:
        return self.judged_by or self.plan.config.metric

    @cached_property
    def records(self) -> list[TrialRecord]:
        return read_records(self.folder.results)

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        return ranked_records(self.records, self.metric)

    @cached_property
    def searched(self) -> list[_Winner]:
        """Every finished trial, the best first."""
        return [
            _Winner(one, one.trial, rank, (False, one.metrics[self.metric], *_place(one)), None)
            for rank, one in enumerate(self.ranked, start=1)
        ]

    @cached_property
    def confirmed(self) -> list[_Winner]:
        """The best run of every confirmed configuration, the best configuration first."""
        found = [one for one in confirmed(self.folder, self.ranked, self.metric) if one.finished]
        return [
            _Winner(
                one.finished[0],
                one.trial.trial,
                rank,
                (one.failed > 0, one.mean, *_place(one.trial)),
                one,
            )
            for rank, one in enumerate(found, start=1)
        ]

    @cached_property
    def data(self) -> PreparedData:
        return open_planned_data(self.plan)

    @cached_property
    def teacher_test(self) -> dict[str, float] | None:
        """The teacher's test errors, if the sweep has one and it still exists."""
        if self.plan.teacher_fingerprint is None:
            return None
        folder = teacher_folder(self.folder.storage, self.plan.teacher_fingerprint)
        if not (folder / TEACHER_FILE).is_file():
            return None
        return evaluate(open_teacher(folder).load(self.data), self.data, "test")

    def export(self, winner: _Winner) -> Path:
        """Export a student that has no export yet."""
        path = writable_folder(self.folder.exports) / layout.export_folder(winner.rank, winner.name)
        self._write(path, winner)
        publish_export(self.folder.store, path)
        return path

    def check_students(self, winners: Sequence[_Winner]) -> None:
        """Raise ``ExportError`` where a student is gone, before any is exported."""
        download_exports(self.folder.store, self.folder.path)
        missing = [
            winner
            for winner in winners
            if not has_student(self._home(winner), winner.record.trial)
            and self.exported(winner) is None
        ]
        if not missing:
            return
        first = missing[0]
        option = "" if first.confirmed is None else " --confirmation"
        most = self.plan.config.keep_checkpoints
        why = "it is gone" if most is None or option else f"only the best {most} were kept"
        others = f", as {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ExportError(
            f"trial {first.record.trial} of {self.folder.name!r} must have a student at "
            f"{self._student(first)}, but {why}{others}; train it again by `hpo trial "
            f"{self.folder.name} {first.record.trial}{option} --rerun`, then export again"
        )

    def exported(self, winner: _Winner) -> Path | None:
        """Return the student's export, if there is one."""
        lineage = self._lineage(winner)
        found = self.folder.exports.glob(layout.export_folder("[0-9]*", winner.name))
        for path in sorted(found, key=lambda path: layout.rank_of_export(path.name)):
            if _is_export_of(path, lineage):
                return path
        return None

    def _student(self, winner: _Winner) -> Path:
        return self._home(winner).student(winner.record.trial)

    def _home(self, winner: _Winner) -> SweepFolder:
        return self.folder if winner.confirmed is None else self.folder.confirmation

    def _write(self, path: Path, winner: _Winner) -> None:
        record = winner.record
        download_student(self._home(winner), record.trial)
        model, _ = load_model(self._student(winner), self.data.graph_kernel)
        settings = {"method": record.method, **record.configuration}
        dataset = load_dataset(Path(self.plan.data_folder), record.dataset)
        own = winner.confirmed
        spreads = None if own is None else own.spreads()
        facts = StudentFacts(
            settings, record.metrics, self._lineage(winner), self.teacher_test, spreads
        )
        export_student(path, model, self.data, dataset.adjacency, facts)

    def _lineage(self, winner: _Winner) -> dict[str, Any]:
        record, base = winner.record, self.plan.base_fingerprint
        own = None if winner.confirmed is None else winner.confirmed.summary()
        return {
            **({} if base is None else {"base_fingerprint": base}),
            **({} if own is None else {"confirmed": {"run": record.trial, **own}}),
            "dataset": record.dataset,
            "dataset_fingerprint": record.dataset_fingerprint,
            "teacher_fingerprint": record.teacher_fingerprint,
            "space_fingerprint": record.space_fingerprint,
            "sweep": record.sweep,
            "trial": winner.trial,
            "seed": record.seed,
            "best_epoch": record.best_epoch,
            "ended": record.ended,
            "machine": record.machine,
            "versions": record.versions,
            "command": self.plan.command,
        }


def _place(record: TrialRecord) -> tuple[str, int]:
    return record.sweep, record.trial


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
        for file in source.iterdir():  # one by one: errors of copytree do not name their cause
            shutil.copy(file, aside / file.name)
    return target
