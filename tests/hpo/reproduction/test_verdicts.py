"""When a claim is confirmed, refuted or open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.preprocessing.prepare import PreparedData
from hpo.report.paper import paper_datasets
from hpo.reproduction.tables import TABLES, Claim
from hpo.reproduction.verdicts import Verdict, counted, verdicts
from tests.reproduction_facts import facts_of, found_row, noisy

ONE_CLAIM = replace(TABLES["7"], claims=(Claim("ord", "rd_l2"),))


def judged(data: PreparedData, ours: list[list[float]], theirs: list[list[float]]) -> Verdict:
    rows = [found_row(data, "ord", ours), found_row(data, "rd_l2", theirs)]
    (verdict,) = verdicts(facts_of(data, [ONE_CLAIM], rows), ONE_CLAIM)
    return verdict


def test_a_clear_difference_decides_either_way(prepared: PreparedData) -> None:
    low, high = noisy(2.0, 1), noisy(2.2, 2)
    confirmed, refuted = judged(prepared, low, high), judged(prepared, high, low)
    assert (confirmed.judgement, refuted.judgement) == ("confirmed", "refuted")
    assert confirmed.over_seeds is not None
    assert confirmed.over_days is not None
    assert confirmed.over_seeds.interval.mean == pytest.approx(-0.2, abs=0.02)
    assert confirmed.over_days.mean == pytest.approx(confirmed.over_seeds.interval.mean)
    assert confirmed.why == ""
    assert counted([confirmed, refuted, refuted]) == "1 confirmed, 2 refuted"


def test_noise_is_open_and_says_how_many_seeds_decide(prepared: PreparedData) -> None:
    found = judged(prepared, noisy(2.0, 3, 0.1), noisy(2.01, 4, 0.1))
    assert found.judgement == "open"
    assert found.needed is not None
    assert found.needed > 5
    assert str(found.needed) in found.why


def test_days_that_disagree_leave_it_open(prepared: PreparedData) -> None:
    ours = [[2.0, 2.0, 2.0, 2.0, 2.0 + seed / 1000] for seed in range(5)]
    theirs = [[1.9, 1.9, 1.9, 1.9, 2.9 + seed / 500] for seed in range(5)]
    found = judged(prepared, ours, theirs)
    assert found.over_seeds is not None
    assert found.over_seeds.p < 0.001
    assert (found.judgement, found.needed) == ("open", None)
    assert "test days" in found.why


def test_too_few_days_leave_it_open(prepared: PreparedData) -> None:
    found = judged(prepared, noisy(2.0, 1, days=3), noisy(2.2, 2, days=3))
    assert (found.judgement, found.over_days) == ("open", None)
    assert found.why == "at least 4 test days"


def test_seeds_are_paired_and_only_shared_ones_count(prepared: PreparedData) -> None:
    ours, theirs = noisy(2.0, 1), noisy(2.2, 2)
    better, worse = found_row(prepared, "ord", ours), found_row(prepared, "rd_l2", theirs)
    backwards = replace(worse, runs=worse.runs[::-1], test_days=worse.test_days[::-1])
    (usual,) = verdicts(facts_of(prepared, [ONE_CLAIM], [better, worse]), ONE_CLAIM)
    (same,) = verdicts(facts_of(prepared, [ONE_CLAIM], [better, backwards]), ONE_CLAIM)
    assert same.over_seeds == usual.over_seeds
    shorter = replace(worse, runs=worse.runs[:3], test_days=worse.test_days[:3])
    (fewer,) = verdicts(facts_of(prepared, [ONE_CLAIM], [better, shorter]), ONE_CLAIM)
    assert fewer.seeds == 3
    single = replace(worse, runs=worse.runs[:1], test_days=worse.test_days[:1])
    (one,) = verdicts(facts_of(prepared, [ONE_CLAIM], [better, single]), ONE_CLAIM)
    assert (one.judgement, one.why) == ("open", "more shared seeds than 1")


def test_several_claims_are_corrected_together(prepared: PreparedData) -> None:
    table = TABLES["2"]
    rows = [
        found_row(prepared, "ord", noisy(2.0, 1, 0.04)),
        found_row(prepared, "rd_l2", noisy(2.06, 2, 0.04)),
        found_row(prepared, "rd_kl", noisy(2.05, 3, 0.04)),
        found_row(prepared, "none", noisy(2.0, 4, 0.04)),
    ]
    together = verdicts(facts_of(prepared, [table], rows), table)
    for one in together:
        alone = replace(table, claims=(one.claim,))
        (single,) = verdicts(facts_of(prepared, [alone], rows), alone)
        assert single.over_seeds == one.over_seeds
        assert one.corrected_p is not None
        assert single.corrected_p is not None
        assert one.corrected_p >= single.corrected_p
    raw = [one.over_seeds.p for one in together if one.over_seeds is not None]
    lowest = raw.index(min(raw))
    assert together[lowest].corrected_p == pytest.approx(3 * min(raw))


def test_the_papers_own_difference_stands_beside_and_rows_not_run_are_open(
    prepared: PreparedData,
) -> None:
    paper = paper_datasets()["pemsd7"]
    found = verdicts(facts_of(prepared, [TABLES["4"]], [], paper), TABLES["4"])
    assert [one.judgement for one in found] == ["open"] * 5
    assert {one.why for one in found} == {"to be run"}
    by_worse = {one.claim.worse: one.paper_difference for one in found}
    stcd, ord_ = (2.615 + 3.776 + 4.754) / 3, (2.762 + 4.091 + 5.221) / 3
    assert by_worse["ord"] == pytest.approx(stcd - ord_)
