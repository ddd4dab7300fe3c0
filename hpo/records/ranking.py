"""Order the finished trials of sweeps, and find their different configurations. Reads no file."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hpo.records.trial_records import TrialRecord


def ranked_records(records: Sequence[TrialRecord], metric: str) -> list[TrialRecord]:
    """Return the finished trials, the lowest ``metric`` first; those without it are left out."""
    finished = [
        record
        for record in records
        if record.status == "finished" and math.isfinite(record.metrics.get(metric) or math.nan)
    ]
    return sorted(finished, key=lambda one: (one.metrics[metric], one.sweep, one.trial))


def configurations(ranked: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the first trial of every configuration, in the same order."""
    kept: list[TrialRecord] = []
    for record in ranked:
        if record.settings not in [other.settings for other in kept]:
            kept.append(record)
    return kept
