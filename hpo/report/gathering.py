"""Gather the facts of sweeps from their files.

Reads plans, ledgers, records, confirmations, exports and teachers. Writes nothing and runs no
network, except to time the teacher where students were timed. Sweeps must share their data, or
their errors could not be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import ConfigError, UserError
from core.evaluation.profiling import count_flops, count_parameters, forecast_latency
from core.experiments import network_shape
from core.export.manifest import MODEL_FILE, read_manifest
from core.forms import FORMS
from core.preprocessing.prepare import PreparedData
from core.training.teacher_files import TEACHER_FILE, teacher_folder
from core.training.teachers import Teacher, find_teacher, open_teacher
from hpo.planning.sweep_planning import open_planned_data
from hpo.records import layout
from hpo.records.confirmation import Confirmed, confirmed
from hpo.records.ledger import read_ledger
from hpo.records.ranking import ranked_records
from hpo.records.sweep_folder import SweepFolder, find_sweep
from hpo.records.sweep_plan import SweepPlan, extended_plan
from hpo.records.sync.sweep_sync import download_exports
from hpo.records.trial_records import TrialRecord, read_records
from hpo.report.facts import ReportedSweep, ReportFacts, ShownStudent
from hpo.report.paper import paper_results
from hpo.selection import records_of
from hpo.space.objectives import LATENCY
from hpo.space.parameters import PRUNE


def gather(names: Sequence[str], storage: Path) -> ReportFacts:
    """Read everything that the files of some sweeps record.

    Args:
        names: of the sweeps, each once.
        storage: folder of the sweeps.

    Raises:
        UserError: no such sweep, none of its trials has ended, or the sweeps differ in their data.
    """
    if len(set(names)) < len(names):
        raise ConfigError(f"a report needs every sweep once, got {' '.join(names)}")
    folders = [find_sweep(storage, name) for name in names]
    plans = [folder.read_plan() for folder in folders]
    _check_data(plans)
    metric = plans[0].config.metric
    sweeps = [_sweep(*pair, metric) for pair in zip(folders, plans, strict=True)]
    data, missing = _data(plans[0])
    teacher = _teacher(storage, plans, data)
    return ReportFacts(
        sweeps=sweeps,
        metric=metric,
        data=data,
        missing=missing,
        teacher=teacher,
        teacher_sizes=_sizes(teacher, data, any(is_timed(sweep.ranked) for sweep in sweeps)),
        fixed_student=_fixed_student(storage, plans[0], metric, data),
        paper=paper_results(data.card.num_sensors, data.card.unit) if data is not None else [],
        evaluation=None,
    )


def _check_data(plans: Sequence[SweepPlan]) -> None:
    first = plans[0]
    for plan in plans[1:]:
        if plan.dataset_fingerprint != first.dataset_fingerprint:
            raise ConfigError(
                "sweeps side by side must be of the same data, but "
                f"{first.config.name!r} searched {first.config.dataset} and {plan.config.name!r} "
                f"{plan.config.dataset}"
                + (" of another import" if plan.config.dataset == first.config.dataset else "")
                + "; report on them one by one"
            )


def _sweep(folder: SweepFolder, plan: SweepPlan, metric: str) -> ReportedSweep:
    state, records = read_ledger(folder.ledger_file), read_records(folder.results)
    if not records:
        raise ConfigError(
            f"a report needs a trial that has ended, but {folder.name!r} has none yet; "
            f"see `hpo status {folder.name}`"
        )
    ranked = ranked_records(records, metric)
    known = confirmed(folder, ranked, metric)
    return ReportedSweep(
        folder=folder,
        plan=extended_plan(plan, state),
        state=state,
        records=records,
        ranked=ranked,
        confirmed=known,
        shown=_exported(folder) or _best_student(folder, ranked, known),
        driven=folder.is_driven(),
    )


def _exported(folder: SweepFolder) -> ShownStudent | None:
    found: list[tuple[int, bool, str, Path, dict[str, Any]]] = []
    download_exports(folder.store, folder.path)
    for path in folder.exports.glob(layout.EXPORT_FOLDERS):
        manifest = read_manifest(path)
        is_single_run = "confirmed" not in manifest["lineage"]
        rank = layout.rank_of_export(path.name)
        found.append((rank, is_single_run, path.name, path, manifest))
    if not found:
        return None
    *_, path, manifest = min(found, key=lambda one: one[:3])
    return ShownStudent(
        trial=manifest["lineage"]["trial"],
        run=(manifest["lineage"].get("confirmed") or {}).get("run"),
        file=path / MODEL_FILE,
        parameters=manifest["parameters"],
        export=path,
        test=manifest["metrics"]["test"],
    )


def _best_student(
    folder: SweepFolder, ranked: Sequence[TrialRecord], known: Sequence[Confirmed]
) -> ShownStudent | None:
    """Return the best run of the best confirmed configuration, or the best trial kept."""
    runs = [(one.trial.trial, one.finished[0]) for one in known if one.finished]
    candidates: list[tuple[int, int | None, TrialRecord]] = [
        (trial, run.trial, run) for trial, run in runs
    ]
    candidates += [(record.trial, None, record) for record in ranked]
    for trial, number, record in candidates:
        if record.student is None:
            continue
        file = folder.storage / record.student
        folder.store.download([file])
        if file.is_file():
            return ShownStudent(trial, file, record.parameters, number, export=None, test=None)
    return None


def _data(plan: SweepPlan) -> tuple[PreparedData | None, str]:
    try:
        return open_planned_data(plan), ""
    except UserError as error:
        return None, str(error)


def _teacher(
    storage: Path, plans: Sequence[SweepPlan], data: PreparedData | None
) -> Teacher | None:
    """Return the first of the sweeps' teachers that is there, or the best of the same data."""
    wanted = [plan.teacher_fingerprint for plan in plans if plan.teacher_fingerprint is not None]
    folders = [teacher_folder(storage, one) for one in wanted]
    there = [folder for folder in folders if (folder / TEACHER_FILE).is_file()]
    if there:
        return open_teacher(there[0])
    return None if data is None else find_teacher(storage, data, None)


def is_timed(records: Sequence[TrialRecord]) -> bool:
    """Whether any of these trials has a latency."""
    return any(record.latency_ms is not None for record in records)


def _sizes(teacher: Teacher | None, data: PreparedData | None, timed: bool) -> dict[str, float]:
    if teacher is None or data is None:
        return {}
    network = teacher.load(data)
    latency = {LATENCY: forecast_latency(network, data.horizon_steps)} if timed else {}
    return {"parameters": count_parameters(network), "flops": count_flops(network), **latency}


def _fixed_student(
    storage: Path, plan: SweepPlan, metric: str, data: PreparedData | None
) -> TrialRecord | None:
    if data is None:
        return None
    table_1 = FORMS["paper"]
    shape = network_shape(data, table_1.student, table_1.network)
    records = [
        record
        for record in records_of(plan.config.dataset, storage)
        if record.dataset_fingerprint == plan.dataset_fingerprint
        and record.form == "paper"
        and record.method != PRUNE
        and record.parameters == shape.parameters
    ]
    return next(iter(ranked_records(records, metric)), None)
