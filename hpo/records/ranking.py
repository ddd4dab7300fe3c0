"""Order the finished trials of sweeps, and say why there are none. Reads no file."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from hpo.records.trial_records import TrialRecord

_ENDS = {
    "failed": "failed",
    "pruned": "ended early",
    "infeasible": "went beyond limits and never trained",
    "finished": "finished without a number to judge",
}
_NUMBER = re.compile(r"[-+]?[0-9][0-9.]*(?:e[-+]?[0-9]+)?")


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


def beats_last(error: float | None, repeated: float | None) -> bool:
    """Return whether a model's ``error`` is below that of repeating the last reading.

    True where the latter is not known.
    """
    if repeated is None or math.isnan(repeated):
        return True
    return error is not None and error < repeated


def no_student(what: str, records: Sequence[TrialRecord], see: str) -> str:
    """Return one line that says that ``what`` has no student, and why.

    Args:
        what: a sweep, a confirmation or a dataset, in words.
        records: of all its trials.
        see: the command that shows them.
    """
    return f"{what} has no student: {_how_they_ended(records)}; see `{see}`"


def commonest_reason(records: Sequence[TrialRecord]) -> str | None:
    """Return why most of the failed trials failed, as ``because …``; None if none failed.

    Reasons that differ in nothing but numbers, such as those of epochs, count as one.
    """
    reasons = [record.reason or "unknown" for record in records if record.status == "failed"]
    if not reasons:
        return None
    kinds = Counter(_NUMBER.sub("#", reason) for reason in reasons)
    kind, count = kinds.most_common(1)[0]
    example = next(reason for reason in reasons if _NUMBER.sub("#", reason) == kind)
    return f"because {example}" if count == len(reasons) else f"{count} of them because {example}"


def _how_they_ended(records: Sequence[TrialRecord]) -> str:
    """Return in words how trials ended, none of which gave a student to judge."""
    if not records:
        return "no trial has ended"
    counts = Counter(record.status for record in records)
    parts = [f"{counts[status]} {words}" for status, words in _ENDS.items() if counts[status]]
    if len(counts) == 1:
        which = "the only trial" if len(records) == 1 else f"all {len(records)} trials"
        parts = [f"{which} {_ENDS[records[0].status]}"]
    reason = commonest_reason(records)
    return ", ".join([" and ".join(parts), *([] if reason is None else [reason])])
