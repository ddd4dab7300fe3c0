"""Summarise what was searched and the best that was found, confirmed or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.families import DEFAULT_FAMILY
from core.preprocessing.horizons import HORIZON_MINUTES
from hpo.records.confirmation import Confirmed
from hpo.records.ranked_trials import luck_in_words
from hpo.records.trial_records import TrialRecord
from hpo.report.facts import ROLE_NAMES, ReportedSweep, ReportFacts
from hpo.report.section import Block, Numbers, Section, Table
from hpo.report.wording import metric_name, setting_text, with_unit
from hpo.space.parameters import Parameter


def result(facts: ReportFacts) -> Section:
    """Give the result of the sweeps in a sentence, a few numbers and tables."""
    blocks: list[Block] = [
        _sweeps(facts),
        *_test(facts),
        _searched(facts),
    ]
    leader = _leader(facts)
    if leader is not None:
        blocks.insert(0, _numbers(facts, leader))
    return Section("Result", _sentence(facts, leader), tuple(blocks), note=_note(facts))


@dataclass(frozen=True)
class _Leader:
    """The student that the report leads with: confirmed, wherever any sweep has such."""

    sweep: ReportedSweep
    error: float
    trial: TrialRecord
    confirmed: Confirmed | None


def _leader(facts: ReportFacts) -> _Leader | None:
    """Return the lowest mean over fresh seeds, or without any the best single trial."""
    found = [
        _Leader(sweep, one.mean, one.trial, one)
        for sweep in facts.sweeps
        if (one := sweep.best_confirmed) is not None
    ]
    found = found or [
        _Leader(sweep, sweep.best.metrics[facts.metric], sweep.best, None)
        for sweep in facts.sweeps
        if sweep.best is not None
    ]
    return min(found, key=lambda one: one.error, default=None)


def _sentence(facts: ReportFacts, leader: _Leader | None) -> str:
    if leader is None:
        return "No trial has finished, so there is no student yet; the failures below say why."
    name = f"{metric_name(facts.metric, '')} of"
    unit = "%" if "mape" in facts.metric else facts.unit
    trial = f"trial {leader.trial.trial} of {leader.sweep.name}"
    if leader.confirmed is None:
        sentence = (
            f"The best single trial, {trial}, has a {name} {leader.error:.3f} {unit}".rstrip()
        )
    else:
        seeds = len(leader.confirmed.finished)
        mean = f"{_mean(leader.confirmed)} {unit}".rstrip()
        over = f"over {seeds} fresh seeds" if seeds > 1 else "on a fresh seed"
        sentence = f"The best confirmed student, {trial}, has a {name} {mean} {over}"
    return f"{sentence}{_compared(facts, leader.error)}{_luck(leader)}."


def _compared(facts: ReportFacts, error: float) -> str:
    """Say how the error stands beside the baselines'."""
    said = ""
    teacher, repeated = (facts.baselines.get(name) for name in ("teacher", "repeat_last"))
    if teacher is not None:
        said += f", {_percent(error / teacher - 1)} than its teacher's {teacher:.3f}"
    if repeated is None:
        return said
    if error >= repeated:
        cure = "more epochs or --form direct may help"
        return f"{said}; repeating the last reading, {repeated:.3f}, is as good or better: {cure}"
    return f"{said} and {_percent(error / repeated - 1)} than repeating the last reading"


def _percent(change: float) -> str:
    return f"{abs(change):.1%} {'lower' if change < 0 else 'higher'}".replace("%", "\u00a0%")


def _luck(leader: _Leader) -> str:
    finished = len(leader.sweep.with_status("finished"))
    if leader.confirmed is None:
        return f"; it is one seed, not confirmed, and the best of {finished} is a lucky one"
    own = leader.trial.metrics[leader.confirmed.metric]
    return f"; the trial that found it had {own:.3f}"


def _numbers(facts: ReportFacts, leader: _Leader) -> Numbers:
    best, name = leader.trial, metric_name(facts.metric, facts.unit)
    kind = "best single trial's" if leader.confirmed is None else "best confirmed"
    items = [(f"{leader.error:.3f}", f"{kind} {name}")]
    items.append((f"{best.parameters:,}", "parameters of that student"))
    if facts.teacher_sizes:
        whole = facts.teacher_sizes["parameters"]
        items.append((f"{100 * best.parameters / whole:.1f}\u00a0%", f"of its teacher's {whole:,}"))
    ended = sum(len(sweep.records) for sweep in facts.sweeps)
    seconds = sum(record.seconds for sweep in facts.sweeps for record in sweep.records)
    items.append((f"{ended}", f"trials ended, {_duration(seconds)} of training"))
    return Numbers(tuple(items))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _sweeps(facts: ReportFacts) -> Table:
    errors = [f"{minutes} min" for minutes in HORIZON_MINUTES]
    ranked = sorted(facts.sweeps, key=lambda sweep: _order(facts, sweep))
    rows = [_sweep_row(facts, sweep) for sweep in ranked]
    rows += [
        (name, "", "", "", f"{level:.3f}", *_horizons(facts, key), "")
        for key, name in ROLE_NAMES.items()
        if (level := facts.baselines.get(key)) is not None
    ]
    return Table(
        ("sweep", "finished", "fresh seeds", "best trial", "its error", *errors, "parameters"),
        tuple(rows),
        title=f"Searches, by {metric_name(facts.metric, facts.unit)}",
        numeric=(3, 4, 5, 6, 7, 8),
    )


def _sweep_row(facts: ReportFacts, sweep: ReportedSweep) -> tuple[str, ...]:
    config, best = sweep.plan.config, sweep.best
    finished = len(sweep.with_status("finished"))
    kind = [config.method, *([] if config.family == DEFAULT_FAMILY else [config.family])]
    unsaid = [word for word in kind if word not in sweep.name]
    name = f"{sweep.name} ({', '.join(unsaid)})" if unsaid else sweep.name
    trials = f"{finished} of {config.trials}"
    if sweep.standing != "complete":
        trials += f", {sweep.standing}"
    if sweep.state.settled is not None:
        trials += ", settled"
    if best is None:
        return (name, trials, *[""] * 7)
    horizons = [_error(best.metrics, _at(facts.metric, minutes)) for minutes in HORIZON_MINUTES]
    error = f"{best.metrics[facts.metric]:.3f}"
    return (
        name,
        trials,
        _confirmed(facts, sweep),
        str(best.trial),
        error,
        *horizons,
        f"{best.parameters:,}",
    )


def _order(facts: ReportFacts, sweep: ReportedSweep) -> tuple[bool, float]:
    """Confirmed ones first, by their mean over fresh seeds; the others by their best trial."""
    best = sweep.best_confirmed
    if best is not None:
        return False, best.mean
    return True, sweep.best.metrics[facts.metric] if sweep.best is not None else math.inf


def _confirmed(facts: ReportFacts, sweep: ReportedSweep) -> str:
    best = sweep.best_confirmed
    if best is None:
        return f"not confirmed; {luck_in_words(len(sweep.with_status('finished')), facts.luck)}"
    equals = sum(one.like is not None for one in sweep.confirmed)
    others = f"; {equals} more not distinguishable from it" if equals else ""
    within = (
        "" if best.interval is None else ", mean within {:.3f} to {:.3f}".format(*best.interval)
    )
    of = f"({len(best.finished)} seeds, trial {best.trial.trial}{within}{others})"
    return f"{_mean(best)} {of}"


def _mean(confirmed: Confirmed) -> str:
    spread = "" if confirmed.spread is None else f" ± {confirmed.spread:.3f}"
    return f"{confirmed.mean:.3f}{spread}"


def _horizons(facts: ReportFacts, name: str) -> list[str]:
    for sweep in facts.sweeps:
        if name in sweep.plan.baselines:
            errors = sweep.plan.baselines[name]
            return [_error(errors, _at(facts.metric, minutes)) for minutes in HORIZON_MINUTES]
    errors = facts.teacher.metrics if facts.teacher is not None else {}
    return [_error(errors, _at(facts.metric, minutes)) for minutes in HORIZON_MINUTES]


def _at(metric: str, minutes: int) -> str:
    return f"{'_'.join(metric.split('_')[:2])}_{minutes}"


def _error(metrics: Mapping[str, Any], name: str) -> str:
    value = metrics.get(name)
    return "" if value is None else f"{value:.3f}"


def _test(facts: ReportFacts) -> list[Table]:
    """Return the errors on test days from the exports' manifests; nothing without one."""
    rows: list[tuple[str, ...]] = []
    others: dict[str, Mapping[str, float]] = {}
    for sweep in facts.sweeps:
        shown = sweep.shown
        if shown is not None and shown.test is not None:
            run = "" if shown.run is None else f", run {shown.run} of its confirmation"
            name = f"{sweep.name}, trial {shown.trial}{run}"
            rows.append((name, *_test_cells(shown.test["student"])))
            others = {**shown.test, **others}
    rows += [(name, *_test_cells(others[key])) for key, name in ROLE_NAMES.items() if key in others]
    if not rows:
        return []
    headings = [
        f"{metric.upper()} {minutes} min"
        for metric in ("mae", "mape")
        for minutes in HORIZON_MINUTES
    ]
    title = f"On the test days, as exports say: {with_unit('MAE', facts.unit)}, and MAPE, %"
    return [
        Table(
            ("exported student", *headings),
            tuple(rows),
            title=title,
            numeric=tuple(range(1, 7)),
        )
    ]


def _test_cells(errors: Mapping[str, float]) -> tuple[str, ...]:
    names = [f"{metric}_{minutes}" for metric in ("mae", "mape") for minutes in HORIZON_MINUTES]
    return tuple("" if errors.get(name) is None else f"{errors[name]:.2f}" for name in names)


def _searched(facts: ReportFacts) -> Table:
    """Return a row per setting: its range, and its value in the best trial of every sweep."""
    ranges: dict[str, dict[str, None]] = {}
    for sweep in facts.sweeps:
        for name, parameter in sweep.plan.space.parameters.items():
            ranges.setdefault(name, {})[_range(parameter)] = None
    rows = [
        (name, " or ".join(searched), *(_best_value(sweep, name) for sweep in facts.sweeps))
        for name, searched in ranges.items()
    ]
    best = [f"best of {sweep.name}" for sweep in facts.sweeps]
    headings = ("setting", "searched", *(best if facts.several else ["in the best trial"]))
    return Table(headings, tuple(rows), title="What was searched")


def _best_value(sweep: ReportedSweep, name: str) -> str:
    if sweep.best is None or name not in sweep.plan.space.parameters:
        return ""
    return setting_text(sweep.best.settings.get(name, ""))


def _range(parameter: Parameter) -> str:
    fields = parameter.to_json()
    if "choices" in fields:
        return ", ".join(setting_text(choice) for choice in fields["choices"])
    scale = ", logarithmic" if fields.get("log") else ""
    return f"{setting_text(fields['low'])} to {setting_text(fields['high'])}{scale}"


def _note(facts: ReportFacts) -> str:
    plan = facts.sweeps[0].plan
    days = ""
    if facts.data is not None:
        card = facts.data.card
        days = (
            f" ({card.num_sensors} sensors, every {card.interval_minutes} minutes; "
            f"{card.split_text} days for training, validation and test)"
        )
    ahead = ""
    if facts.data is not None and facts.data.looks_ahead:
        ahead = " Gaps are interpolated, so all errors look ahead and are too good."
    return f"Dataset {plan.config.dataset}{days}.{ahead}{_settled(facts)} {facts.missing}".strip()


def _settled(facts: ReportFacts) -> str:
    """Say why searches ended early."""
    return "".join(
        f" {sweep.name} settled after {one.trials} trials: more could lower its error by at most "
        f"{one.bound:.3f}, and another seed changes it by {one.spread:.3f}."
        for sweep in facts.sweeps
        if (one := sweep.state.settled) is not None
    )
