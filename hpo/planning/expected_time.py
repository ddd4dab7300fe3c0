"""Expect how long a sweep's trials take, from records of trials like them. Runs nothing."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from hpo.records.sweep_plan import SweepPlan
from hpo.records.trial_records import TrialRecord


def seconds_per_trial(plan: SweepPlan, records: Iterable[TrialRecord]) -> float | None:
    """Return the seconds of a trial of all epochs; None where no such trial has been recorded.

    Trials of the same data, method, form and kind of network count, whatever their sweep.
    """
    config = plan.config
    epochs = [
        record.seconds / record.epochs
        for record in records
        if record.epochs
        and record.dataset_fingerprint == plan.dataset_fingerprint
        and (record.method, record.form, record.base)
        == (config.method, config.form, config.base_name)
    ]
    return fmean(epochs) * config.epochs if epochs else None
