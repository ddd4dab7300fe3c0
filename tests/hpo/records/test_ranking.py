"""Why a sweep has no student is said in one line, with the commonest reason."""

from __future__ import annotations

import pytest

from hpo.records.ranking import commonest_reason, no_student
from hpo.records.trial_records import TrialRecord
from tests.small_sweeps import record

HOT = [record(at, 1.0, status="failed", reason=f"too hot in epoch {at}") for at in range(3)]
COLD = record(3, 1.0, status="failed", reason="too cold")
EARLY = record(4, 1.0, status="pruned")
LARGE = record(5, 1.0, status="infeasible", reason="too large")


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([], "no trial has ended"),
        (HOT[:1], "the only trial failed, because too hot in epoch 0"),
        (HOT, "all 3 trials failed, because too hot in epoch 0"),
        ([COLD, *HOT], "all 4 trials failed, 3 of them because too hot in epoch 0"),
        ([EARLY, EARLY], "all 2 trials ended early"),
        ([LARGE], "the only trial went beyond limits and never trained"),
        ([EARLY, *HOT], "3 failed and 1 ended early, because too hot in epoch 0"),
    ],
)
def test_the_commonest_reason_is_said(records: list[TrialRecord], why: str) -> None:
    line = no_student("sweep 'night'", records, "hpo status night")
    assert line == f"sweep 'night' has no student: {why}; see `hpo status night`"


def test_what_did_not_fail_has_no_reason() -> None:
    assert commonest_reason([EARLY, LARGE, record(0, 1.0)]) is None


def test_a_reason_may_be_missing() -> None:
    assert commonest_reason([record(0, 1.0, status="failed")]) == "because unknown"
