"""Show how to reproduce the best student: the commands, and the data and settings of its run."""

from __future__ import annotations

from hpo.report.facts import ReportedSweep, ReportFacts
from hpo.report.section import Commands, Section, Table
from hpo.report.wording import setting_text


def again(facts: ReportFacts) -> Section:
    """Show the commands that search, run, confirm and export again, and what determines a run."""
    blocks: list[Commands | Table] = []
    for sweep in facts.sweeps:
        blocks.append(Commands(tuple(_lines(sweep)), title=sweep.name if facts.several else ""))
    found = [sweep for sweep in facts.sweeps if sweep.best is not None]
    if found:
        facts_of = [_fixing(sweep) for sweep in found]
        rows = tuple((name, *(one[name] for one in facts_of)) for name in facts_of[0])
        headings = ("", *(sweep.name for sweep in found))
        blocks.append(Table(headings, rows, title="What fixes the best trial"))
    seen = "The same seed on the same machine gives the same numbers; these commands show it."
    if not found:
        seen = "There is no best trial yet; this is how the search was started."
    return Section("Run the best again", seen, tuple(blocks))


def _lines(sweep: ReportedSweep) -> list[str]:
    lines = [sweep.plan.command]
    if sweep.standing == "stopped":
        lines.append(f"hpo resume {sweep.name}")
    if sweep.best is None:
        return lines
    lines.append(f"hpo trial {sweep.name} {sweep.best.trial} --rerun")
    if not sweep.confirmed:
        lines.append(f"hpo confirm {sweep.name} --top 5 --seeds 5")
    lines.append(f"hpo export {sweep.name} --top 1")
    return lines


def _fixing(sweep: ReportedSweep) -> dict[str, str]:
    best = sweep.ranked[0]
    settings = {name: value for name, value in best.configuration.items() if name != "seed"}
    versions = ", ".join(f"{name} {version}" for name, version in best.versions.items())
    return {
        "trial": str(best.trial),
        "seed": str(best.seed),
        "settings": ", ".join(f"{name} {setting_text(value)}" for name, value in settings.items()),
        "data": best.dataset_fingerprint,
        "teacher": best.teacher_fingerprint or "none",
        "made with": f"{versions}; on {best.machine}",
    }
