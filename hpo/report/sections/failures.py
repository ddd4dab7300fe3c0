"""List the trials that gave no student, with their reasons."""

from __future__ import annotations

from collections import Counter

from hpo.records.trial_records import TrialRecord
from hpo.report.facts import ReportFacts
from hpo.report.section import Section, Table
from hpo.report.wording import setting_text

MOST_ROWS = 50
_LOST = ("failed", "infeasible")


def failures(facts: ReportFacts) -> Section:
    """List failed trials and those whose settings allow no student; say if there are none."""
    lost = [record for sweep in facts.sweeps for record in sweep.with_status(*_LOST)]
    if not lost:
        ended = sum(len(sweep.records) for sweep in facts.sweeps)
        return Section("Failures", f"None of {ended} trials failed.")
    rows = tuple(_row(facts, record) for record in lost[:MOST_ROWS])
    headings = (*(("sweep",) if facts.several else ()), "trial", "how", "reason", "settings")
    more = len(lost) - len(rows)
    note = f"{more} more are left out; `hpo status` lists them." if more else ""
    table = Table(headings, rows, title="Trials without a student")
    return Section("Failures", _sentence(facts, lost), (table,), note=note)


def _row(facts: ReportFacts, record: TrialRecord) -> tuple[str, ...]:
    settings = ", ".join(f"{name} {setting_text(value)}" for name, value in record.settings.items())
    sweep = (record.sweep,) if facts.several else ()
    return (*sweep, str(record.trial), record.status, record.reason or "", settings)


def _sentence(facts: ReportFacts, lost: list[TrialRecord]) -> str:
    ended = sum(len(sweep.records) for sweep in facts.sweeps)
    counts = Counter(record.status for record in lost)
    parts = [f"{count} {status}" for status, count in counts.items()]
    reasons = Counter(record.reason for record in lost if record.reason)
    common = f"; most often: {reasons.most_common(1)[0][0]}" if reasons else ""
    return f"Without a student: {' and '.join(parts)} of {ended} trials{common}".rstrip(".") + "."
