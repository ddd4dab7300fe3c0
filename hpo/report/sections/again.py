"""How to get the best student again, and what it was made with."""

from __future__ import annotations

from hpo.report.charts import setting_text
from hpo.report.facts import ReportedSweep, ReportFacts
from hpo.report.section import Commands, Section, Table


def again(facts: ReportFacts) -> Section:
    """Show the commands that search, run, confirm and export again, and all that fixes a run."""
    blocks: list[Commands | Table] = []
    for sweep in facts.sweeps:
        blocks.append(Commands(tuple(_lines(sweep)), title=sweep.name if facts.several else ""))
    rows = tuple(_row(sweep) for sweep in facts.sweeps if sweep.best is not None)
    if rows:
        headings = ("sweep", "trial", "seed", "settings", "data", "teacher", "made with")
        blocks.append(Table(headings, rows, title="What fixes the best trial"))
    seen = "The same seed on the same machine gives the same numbers; these commands show it."
    if not rows:
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


def _row(sweep: ReportedSweep) -> tuple[str, ...]:
    best = sweep.ranked[0]
    settings = {**best.configuration}
    del settings["seed"]
    words = ", ".join(f"{name} {setting_text(value)}" for name, value in settings.items())
    versions = ", ".join(f"{name} {version}" for name, version in best.versions.items())
    return (
        sweep.name,
        str(best.trial),
        str(best.seed),
        words,
        best.dataset_fingerprint,
        best.teacher_fingerprint or "none",
        f"{versions}; on {best.machine}",
    )
