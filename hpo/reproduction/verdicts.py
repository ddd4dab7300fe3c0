"""Judge the paper's claims by what was found: confirmed, refuted or open.

A claim is confirmed if the difference has the claimed sign, is significant over seeds after Holm's
correction over the claims of its table, and keeps its sign when test days are resampled; refuted if
the same holds of the opposite sign; else open. Draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hpo.report.paper import PaperDataset
from hpo.reproduction.facts import FoundRow, ReproductionFacts
from hpo.reproduction.statistics import (
    CONFIDENCE,
    FEWEST_DAYS,
    Interval,
    Paired,
    day_block_interval,
    holm,
    paired,
    seeds_needed,
)
from hpo.reproduction.tables import Claim, PaperTable

Judgement = Literal["confirmed", "refuted", "open"]
METRIC = "mae"
"""Test MAE, mean over 15, 30 and 45 minutes."""
LEVEL = 1 - CONFIDENCE


@dataclass(frozen=True)
class Verdict:
    """A claim and what was found about it; differences are ``better`` less ``worse``."""

    claim: Claim
    seeds: int
    """Shared by both rows."""
    over_seeds: Paired | None
    """None of fewer than two seeds."""
    over_days: Interval | None
    """None of too few test days."""
    corrected_p: float | None
    judgement: Judgement
    needed: int | None
    """Seeds that would decide an open claim; None: too many, or days are what is missing."""
    why: str
    """In words, what would decide an open claim; empty where it is decided."""
    paper_difference: float | None
    """Of the paper's own tables; None of other data."""


def verdicts(facts: ReproductionFacts, table: PaperTable) -> list[Verdict]:
    """Judge all claims of a table together."""
    found = [_compared(facts, claim) for claim in table.claims]
    tested = [one for one in found if one.over_seeds is not None]
    corrected = iter(holm([one.over_seeds.p for one in tested if one.over_seeds is not None]))
    return [
        _judged(one, next(corrected), len(tested)) if one.over_seeds is not None else one
        for one in found
    ]


def _compared(facts: ReproductionFacts, claim: Claim) -> Verdict:
    better, worse = (facts.rows.get(name) for name in (claim.better, claim.worse))
    difference = _paper_difference(facts.plan.paper, claim)
    shared = _shared_seeds(better, worse)
    if better is None or worse is None or len(shared) < 2:
        missing = better is None or worse is None
        why = "to be run" if missing else f"more shared seeds than {len(shared)}"
        return Verdict(claim, len(shared), None, None, None, "open", None, why, difference)
    differences = [better.by_seed[seed][METRIC] - worse.by_seed[seed][METRIC] for seed in shared]
    (ours, own), (others, their) = better.day_sums(shared), worse.day_sums(shared)
    days = day_block_interval(ours, others, own, their)
    return Verdict(
        claim, len(shared), paired(differences), days, None, "open", None, "", difference
    )


def _shared_seeds(better: FoundRow | None, worse: FoundRow | None) -> list[int]:
    if better is None or worse is None:
        return []
    return [seed for seed in better.by_seed if seed in worse.by_seed]


def _judged(verdict: Verdict, corrected: float, claims: int) -> Verdict:
    seeds, days = verdict.over_seeds, verdict.over_days
    if seeds is None:
        return verdict
    verdict = replace(verdict, corrected_p=corrected)
    mean = seeds.interval.mean
    if corrected >= LEVEL:
        needed = seeds_needed(mean, seeds.spread, LEVEL / claims)
        return replace(verdict, needed=needed, why=_more_seeds(needed))
    if days is None:
        return replace(verdict, why=f"at least {FEWEST_DAYS} test days")
    if not days.excludes_zero or (days.mean > 0) != (mean > 0):
        return replace(verdict, why="more test days: seeds agree, days do not")
    return replace(verdict, judgement="confirmed" if mean < 0 else "refuted")


def _more_seeds(needed: int | None) -> str:
    return "more than 1,000 seeds" if needed is None else f"about {needed} seeds"


def _paper_difference(paper: PaperDataset | None, claim: Claim) -> float | None:
    if paper is None:
        return None
    return paper.rows[claim.better].error(METRIC) - paper.rows[claim.worse].error(METRIC)


def counted(found: Sequence[Verdict]) -> str:
    """Return how many claims are confirmed, refuted and open, in words."""
    counts = dict.fromkeys(("confirmed", "refuted", "open"), 0)
    for one in found:
        counts[one.judgement] += 1
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
