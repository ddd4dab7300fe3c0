"""Turn what was found into sections: a sentence, tables with the paper's numbers beside ours.

The same sections make the page, the Markdown and what the command prints. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Final

from core.evaluation.metric_names import METRICS
from core.preprocessing.horizons import HORIZON_MINUTES
from hpo.report.paper import PaperDataset
from hpo.report.section import Block, Section, Table
from hpo.report.wording import METRIC_NAMES, setting_text, with_unit
from hpo.reproduction.contenders import CONTENDERS, REFERENCES
from hpo.reproduction.facts import FoundRow, ReproductionFacts
from hpo.reproduction.sizes import WINDOWS, Sizes
from hpo.reproduction.statistics import Interval
from hpo.reproduction.tables import Kind, PaperTable
from hpo.reproduction.verdicts import LEVEL, Verdict, counted, verdicts

MISSING: Final = "not run yet"


def table_section(facts: ReproductionFacts, table: PaperTable, sizes: Sizes | None) -> Section:
    """Return the section of one table.

    Args:
        facts: what was found.
        table: one that is no figure.
        sizes: for Table 1.
    """
    title = f"Table {table.name}: {table.title}"
    if table.kind == "sizes" and sizes is not None:
        return Section(title, _timed(sizes), (_sizes(facts, sizes),), _SIZES_NOTE)
    judged = verdicts(facts, table)
    seen = f"Claims: {counted(judged)}." if judged else _DESCRIBED[table.kind]
    blocks = list(_BLOCKS[table.kind](facts, table))
    if judged:
        blocks.insert(0, claims_table(facts, judged))
    return Section(title, seen, tuple(blocks), _notes(facts, table))


def claims_table(facts: ReproductionFacts, judged: Sequence[Verdict]) -> Table:
    """Return a table of claims and their verdicts."""
    unit = with_unit("test MAE, mean of the horizons", facts.unit)
    headings = ["claim", "verdict", "difference", "95 % over seeds", "p, Holm", "95 % over days"]
    paper = facts.plan.paper is not None
    headings += ["in the paper"] if paper else []
    rows = [_claim_cells(one)[: len(headings)] for one in judged]
    numeric = tuple(range(2, len(headings)))
    if any(one.why for one in judged):
        headings.append("what would decide it")
        rows = [(*row, one.why) for row, one in zip(rows, judged, strict=True)]
    return Table(tuple(headings), tuple(rows), f"Claims by {unit}", numeric)


def _claim_cells(one: Verdict) -> tuple[str, ...]:
    """Return the cells of a claim, the paper's last."""
    seeds, paper = one.over_seeds, one.paper_difference
    return (
        one.claim.text,
        one.judgement,
        "" if seeds is None else f"{seeds.interval.mean:+.3f}",
        "" if seeds is None else _interval(seeds.interval),
        "" if one.corrected_p is None else _p(one.corrected_p),
        "" if one.over_days is None else _interval(one.over_days),
        "" if paper is None else f"{paper:+.3f}",
    )


def _interval(interval: Interval) -> str:
    return f"{interval.low:+.3f} to {interval.high:+.3f}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _errors(facts: ReproductionFacts, table: PaperTable) -> list[Block]:
    return [_error_table(facts, table, metric) for metric in METRICS]


def _error_table(facts: ReproductionFacts, table: PaperTable, metric: str) -> Table:
    names = [f"{metric}_{minutes}" for minutes in HORIZON_MINUTES]
    first = metric == METRICS[0]
    headings = ["row", *(("parameters", "seeds") if first else ())]
    for minutes in HORIZON_MINUTES:
        headings += [f"{minutes} min", *(["paper"] if facts.plan.paper is not None else [])]
    rows = [
        (label(row), *(_size(facts, row) if first else ()), *_error_cells(facts, row, names))
        for row in table.rows
    ]
    unit = "%" if metric == "mape" else facts.unit
    title = with_unit(f"Test {METRIC_NAMES[metric]}: mean and spread over seeds", unit)
    return Table(tuple(headings), tuple(rows), title, tuple(range(1, len(headings))))


def _size(facts: ReproductionFacts, name: str) -> tuple[str, str]:
    row = facts.rows.get(name)
    return parameters(facts, name), "" if row is None else str(len(row.runs))


def _error_cells(facts: ReproductionFacts, name: str, metrics: Sequence[str]) -> list[str]:
    cells = []
    for metric in metrics:
        cells.append(_error(facts, name, metric))
        if facts.plan.paper is not None:
            known = facts.plan.paper.rows.get(name)
            cells.append("" if known is None else f"{known.errors[metric]:.3f}")
    return cells


def _error(facts: ReproductionFacts, name: str, metric: str) -> str:
    if name in facts.rows:
        return spread_text(facts.rows[name].errors(metric))
    if name in facts.references:
        return f"{facts.references[name].summary()[metric]:.3f}"
    return MISSING


def label(name: str) -> str:
    """Return what tables call a row."""
    return CONTENDERS[name].label if name in CONTENDERS else REFERENCES[name]


def spread_text(values: Sequence[float]) -> str:
    """Return ``2.257 ± 0.004``: mean and sample standard deviation."""
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"


def parameters(facts: ReproductionFacts, name: str) -> str:
    """Return the parameters of a row's network, of pruned ones over its seeds."""
    network = {"teacher": facts.teacher, "base": facts.base}.get(name)
    if network is not None:
        return f"{network.config.parameters:,}"
    if name not in facts.rows:
        return ""
    found = sorted({run.parameters for run in facts.rows[name].runs})
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"


def _shares(facts: ReproductionFacts, table: PaperTable) -> list[Block]:
    paper, rows = facts.plan.paper, []
    for name in table.rows:
        shares = facts.rows[name].teacher_share if name in facts.rows else []
        found = spread_text([100 * share for share in shares]) if shares else MISSING
        known = [] if paper is None else [f"{paper.teacher_share[name]:.3f}"]
        rows.append((label(name), str(len(shares) or ""), found, *known))
    headings = ("row", "seeds", "%", *(() if paper is None else ("paper, %",)))
    numeric = tuple(range(1, len(headings)))
    return [Table(headings, tuple(rows), "In the best epoch: mean and spread", numeric)]


def _settings(facts: ReproductionFacts, table: PaperTable) -> list[Block]:
    """Return what the search found for each row, beside the paper's choice."""
    names = _setting_names(facts, table)
    rows = []
    for name in table.rows:
        found = facts.rows.get(name)
        chosen = found.part.chosen() if found is not None else None
        rows.append((label(name), *_setting_cells(names, chosen.settings if chosen else {})))
        known = {} if facts.plan.paper is None else facts.plan.paper.settings.get(name, {})
        if known:
            rows.append((f"{label(name)}, paper", *_setting_cells(names, known)))
    return [Table(("row", *names), tuple(rows), "Settings", tuple(range(1, len(names) + 1)))]


def _setting_names(facts: ReproductionFacts, table: PaperTable) -> list[str]:
    """Return the settings that differ between rows, the loss weights first."""
    seen: dict[str, set[str]] = {}
    for name in table.rows:
        if name in facts.rows:
            chosen = facts.rows[name].runs[0].settings
            for setting, value in chosen.items():
                seen.setdefault(setting, set()).add(setting_text(value))
    first = ("alpha", "alpha1", "alpha2", "alpha3", "beta", "batch_size", "learning_rate")
    return [*(name for name in first if name in seen), *sorted(seen.keys() - {*first})]


def _setting_cells(names: Sequence[str], settings: Mapping[str, object]) -> list[str]:
    return [setting_text(settings[name]) if name in settings else "" for name in names]


def _sizes(facts: ReproductionFacts, sizes: Sizes) -> Table:
    """Return Table 1; columns of the paper follow ours where it knows these sensors."""
    headings = ["network"]
    for heading in ("parameters", "FLOPs", "seconds", "times the student's"):
        headings += [heading, *([] if facts.plan.paper is None else ["paper"])]
    rows = []
    for at, name in enumerate(sizes.shapes):
        ours, known = _measured(sizes, at, name), _reported(facts.plan.paper, name)
        cells = [cell for pair in zip(ours, known, strict=True) for cell in pair if cell]
        rows.append(("student" if name == "none" else label(name), *cells))
    title = f"A pass over {WINDOWS:,} windows"
    return Table(tuple(headings), tuple(rows), title, tuple(range(1, len(headings))))


def _measured(sizes: Sizes, at: int, name: str) -> list[str]:
    student = len(sizes.shapes) - 1
    return [
        f"{sizes.shapes[name].parameters:,}",
        f"{sizes.flops(name) * WINDOWS:,}",
        f"{sizes.timing.quantiles(at)['p50'] / 1e3:.3f}",
        f"{sizes.timing.speedup(student, at):.1f}",
    ]


def _reported(paper: PaperDataset | None, name: str) -> list[str]:
    if paper is None:
        return [""] * 4
    known, student = paper.sizes[name], paper.sizes["none"]
    return [
        f"{paper.rows[name].parameters:,}",
        f"{known['flops']:,.0f}",
        f"{known['seconds']:.3f}",
        f"{known['seconds'] / student['seconds']:.1f}",
    ]


def _timed(sizes: Sizes) -> str:
    rounds = len(sizes.timing.milliseconds)
    return (
        f"Measured in this run: the median of {rounds} passes on {sizes.timing.threads} thread of "
        f"the {sizes.timing.device}, the networks in turns."
    )


_SIZES_NOTE = (
    "The paper timed a GTX 1080 Ti and does not say the batch of its FLOPs, so only ratios compare."
)
_DESCRIBED: Final = {
    "shares": "Measured in training; the paper does not say at which epoch it counts.",
    "settings": "What each row's search found, and the paper's choice.",
}
_BLOCKS: Final[dict[Kind, Callable[[ReproductionFacts, PaperTable], list[Block]]]] = {
    "errors": _errors,
    "shares": _shares,
    "settings": _settings,
}


def _notes(facts: ReproductionFacts, table: PaperTable) -> str:
    notes = []
    if table.claims:
        days = facts.plan.data.card.split[-1]
        notes.append(
            "A difference below zero speaks for the claim. Verdicts are of a paired t-test over "
            f"seeds, corrected by Holm over this table's claims at {LEVEL:.0%}, and need the sign "
            f"to hold when the {days} test days are resampled."
        )
    incomplete = [row.part.contender.label for row in _incomplete(facts, table)]
    if incomplete:
        notes.append(f"Not complete yet: {', '.join(incomplete)}.")
    return " ".join(notes).replace("%", "\u00a0%")


def _incomplete(facts: ReproductionFacts, table: PaperTable) -> list[FoundRow]:
    return [
        row for name in table.rows if (row := facts.rows.get(name)) is not None and not row.complete
    ]
