"""Put the result together: an overview, a section per table, and how to run it again.

Measures what is measured at run time (Table 1); trains nothing and writes nothing.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.preprocessing.prepare import PreparedData
from hpo.records.trial_records import read_records
from hpo.report.section import Block, Commands, Numbers, Section, Table
from hpo.report.wording import in_number, with_unit
from hpo.reproduction.facts import ReproductionFacts
from hpo.reproduction.pages.sections import table_section
from hpo.reproduction.planning import ReproductionPlan
from hpo.reproduction.sizes import Sizes, measure_sizes
from hpo.reproduction.verdicts import Verdict, counted, verdicts


@dataclass(frozen=True)
class ReproductionResult:
    """What was found, as sections and as verdicts."""

    facts: ReproductionFacts
    sections: dict[str, Section]
    """By anchor: ``result``, ``table-1`` …, ``again``."""
    verdicts: dict[str, list[Verdict]]
    """By table; those with claims."""
    sizes: Sizes | None

    def to_json(self) -> dict[str, Any]:
        """Return verdicts and errors as JSON values."""
        request = self.facts.plan.request
        return {
            "dataset": request.dataset,
            "form": request.form,
            "recipe": request.recipe,
            "left": self.facts.plan.left,
            "rows": {name: _row(self.facts, name) for name in self.facts.rows},
            "references": {name: days.summary() for name, days in self.facts.references.items()},
            "claims": [
                {"table": table, **_claim(one)}
                for table, found in self.verdicts.items()
                for one in found
            ],
        }


def make_result(facts: ReproductionFacts, command: str) -> ReproductionResult:
    """Return the sections and verdicts of some facts.

    Args:
        facts: as gathered.
        command: that goes on, or adds seeds.
    """
    tables = facts.plan.tables
    timed = any(table.kind == "sizes" for table in tables)
    sizes = measure_sizes(facts.plan.data, facts.plan.request.form) if timed else None
    judged = {table.name: verdicts(facts, table) for table in tables if table.claims}
    sections = {"result": _overview(facts, judged)}
    for table in tables:
        if table.kind != "forecasts":
            sections[f"table-{table.name}"] = table_section(facts, table, sizes)
    sections["again"] = _again(command)
    return ReproductionResult(facts, sections, judged, sizes)


def _overview(facts: ReproductionFacts, by_table: Mapping[str, Sequence[Verdict]]) -> Section:
    request = facts.plan.request
    judged = [one for found in by_table.values() for one in found]
    claims = counted(judged) or "none are judged by these tables"
    searched = (
        "one fixed configuration"
        if request.fixed
        else f"a search of {in_number(request.searched, 'trial')}"
    )
    seen = (
        f"Claims of the paper on {request.dataset}: {claims}. Every row had {searched}, up to "
        f"{in_number(request.all_epochs, 'epoch')} each, in the {request.form} form (recipe "
        f"{request.recipe}), then {request.seeds} seeds that all rows share."
    )
    blocks: list[Block] = []
    if judged:
        blocks = [Numbers(_count(judged)), _claims(facts, by_table)]
    ran = [_ran(facts.plan)] if facts.plan.parts else []
    return Section("Result", seen, (*blocks, *ran), _made(facts.plan.data))


def _count(judged: Sequence[Verdict]) -> tuple[tuple[str, str], ...]:
    kinds = ("confirmed", "refuted", "open")
    return tuple(
        (f"{sum(one.judgement == kind for one in judged)}", f"claims {kind}") for kind in kinds
    )


def _claims(facts: ReproductionFacts, by_table: Mapping[str, Sequence[Verdict]]) -> Table:
    """Return all claims with their verdicts; their tables have the intervals."""
    rows = tuple(
        (
            one.claim.text,
            table,
            one.judgement,
            "" if one.over_seeds is None else f"{one.over_seeds.interval.mean:+.3f}",
        )
        for table, found in by_table.items()
        for one in found
    )
    difference = with_unit("difference", facts.unit)
    return Table(("claim", "table", "verdict", difference), rows, "Claims", (1, 3))


def _ran(plan: ReproductionPlan) -> Table:
    """Return what was trained for each row, and how long it took."""
    headings = ("row", "sweep", "trials", "seeds", "left", "minutes of one worker")
    rows = []
    for part in plan.parts:
        folders = {folder.path: folder for folder in (part.folder, part.home)}
        records = [one for folder in folders.values() for one in read_records(folder.results)]
        seconds = sum(record.seconds for record in records)
        cells = (str(part.searched), str(len(part.runs())), str(part.left()))
        rows.append((part.contender.label, part.folder.name, *cells, f"{seconds / 60:.1f}"))
    return Table(headings, tuple(rows), "What ran", (2, 3, 4, 5))


def _made(data: PreparedData) -> str:
    """Say where this was measured, and on which days."""
    card = data.card
    commit = _commit()
    built = f" at commit {commit}" if commit else ""
    machine = f"{os.cpu_count()} cores ({_processor()})"
    return (
        f"{card.num_sensors} sensors, {card.split_text} days for training, validation and test; "
        f"validation days chose, and the students of all seeds were judged on the test days once. "
        f"{machine}, torch {version('torch')}, ray {version('ray')}, optuna {version('optuna')}, "
        f"stgcn-student-search {version('stgcn-student-search')}{built}. The teacher and the "
        "pruning base are one network each, trained as hpo teacher does. The paper's errors are "
        "of its own test days, so only their order compares with ours."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """Return the commit of this checkout; empty where the project is installed otherwise."""
    # An environment may lie in a repository of something else.
    own = _git("ls-files", Path(__file__).name)
    return _git("rev-parse", "--short", "HEAD") if own else ""


def _git(*arguments: str) -> str:
    try:
        found = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return found.stdout.strip()


def _again(command: str) -> Section:
    return Section(
        "Again",
        "The same command goes on after any stop; more --seeds are added to those that are there.",
        (Commands((command,)),),
        "Decide on the number of seeds before you look: seeds that are added because a verdict is "
        "open make a wrong one likelier.",
    )


def _row(facts: ReproductionFacts, name: str) -> dict[str, Any]:
    row = facts.rows[name]
    return {
        "sweep": row.part.folder.name,
        "complete": row.complete,
        "parameters": [run.parameters for run in row.runs],
        "settings": row.runs[0].settings,
        "seeds": [run.seed for run in row.runs],
        "test": list(row.by_seed.values()),
        "teacher_share": row.teacher_share,
    }


def _claim(one: Verdict) -> dict[str, Any]:
    seeds, days = one.over_seeds, one.over_days
    return {
        "claim": one.claim.text,
        "verdict": one.judgement,
        "why": one.why,
        "seeds": one.seeds,
        "difference": None if seeds is None else seeds.interval.mean,
        "interval": None if seeds is None else [seeds.interval.low, seeds.interval.high],
        "p_holm": one.corrected_p,
        "interval_over_days": None if days is None else [days.low, days.high],
        "seeds_needed": one.needed,
        "paper": one.paper_difference,
    }
