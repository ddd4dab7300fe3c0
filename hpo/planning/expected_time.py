"""Expect how long trials and exports take, from records of those before. Runs nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, median

from core.errors import ExportError
from core.export.manifest import read_manifest
from hpo.records.layout import EXPORTS
from hpo.records.sweep_plan import SweepPlan
from hpo.records.trial_records import TrialRecord


def seconds_per_trial(plan: SweepPlan, records: Iterable[TrialRecord]) -> float | None:
    """Return the seconds of a trial of all epochs; None where no such trial has been recorded.

    Trials of the same data, method, form, family and pruning base count, whatever their sweep.
    """
    config = plan.config
    epochs = [
        record.seconds / record.epochs
        for record in records
        if record.epochs
        and record.dataset_fingerprint == plan.dataset_fingerprint
        and (record.method, record.form, record.family, record.base)
        == (config.method, config.form, config.family, config.base_name)
    ]
    return fmean(epochs) * config.epochs if epochs else None


def seconds_per_export(storage: Path) -> float | None:
    """Return the seconds that an export of this storage's sweeps took; None where none is known.

    Looks at what is on this machine; downloads nothing.
    """
    known = []
    for folder in storage.glob(f"*/{EXPORTS}/*"):
        try:
            known.append(read_manifest(folder)["exported"].get("seconds"))
        except ExportError:
            continue  # whoever needs that export is told
    seconds = [one for one in known if one is not None]
    return median(seconds) if seconds else None
