"""List the configurations that ran on fresh seeds, and which of them are shown to differ."""

from __future__ import annotations

from hpo.records.confirmation import Confirmed
from hpo.report.facts import ReportFacts
from hpo.report.section import Section, Table
from hpo.report.wording import metric_name


def fresh_seeds(facts: ReportFacts) -> Section | None:
    """Give a row per confirmed configuration: mean, spread, interval, and its standing."""
    rows = [
        (
            f"{sweep.name}, trial {one.trial.trial}",
            f"{one.trial.metrics[one.metric]:.3f}",
            str(len(one.finished)),
            *_numbers(one),
            _standing(one),
        )
        for sweep in facts.sweeps
        for one in sweep.confirmed
    ]
    if not rows:
        return None
    headings = ("configuration", "in the search", "seeds", "mean ± spread", "mean within")
    table = Table((*headings, "beside its sweep's best"), tuple(rows), numeric=(1, 2))
    note = (
        "The mean lies within its 95\u00a0% interval by Student's t over seeds. Two configurations "
        "are not distinguishable where that of their differences on shared seeds contains zero."
    )
    title = f"{metric_name(facts.metric, facts.unit)} on fresh seeds"
    return Section(title, _sentence(facts), (table,), note=note)


def _sentence(facts: ReportFacts) -> str:
    everything = [one for sweep in facts.sweeps for one in sweep.confirmed]
    dropped = sum(one.drop is not None for one in everything)
    alike = sum(one.like is not None for one in everything)
    count = len(everything)
    said = f"{count} configuration{'s' * (count > 1)} ran again on fresh seeds"
    if alike:
        said += (
            f"; {alike} cannot be told from the best of {'its' if alike == 1 else 'their'} sweep"
        )
    if dropped:
        said += f"; {dropped} got no further seeds, being worse than the best"
    return f"{said}."


def _numbers(one: Confirmed) -> tuple[str, str]:
    if not one.finished:
        return "", ""
    spread = "" if one.spread is None else f" ± {one.spread:.3f}"
    within = "" if one.interval is None else f"{one.interval[0]:.3f} to {one.interval[1]:.3f}"
    return f"{one.mean:.3f}{spread}", within


def _standing(one: Confirmed) -> str:
    if one.drop is not None:
        return f"dropped after {one.drop.seeds} seeds: worse than trial {one.drop.against}"
    if one.like is not None:
        return f"not distinguishable from trial {one.like.trial}"
    return f"{one.failed} failed" if one.failed else ""
