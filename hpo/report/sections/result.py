"""Summarise what was searched and the best that was found, confirmed or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.preprocessing.prepare import HORIZON_MINUTES
from hpo.records.confirmation import Confirmed
from hpo.report.charts import metric_name, setting_text, with_unit
from hpo.report.facts import ROLE_NAMES, ReportedSweep, ReportFacts
from hpo.report.section import Block, Numbers, Section, Table
from hpo.space.parameters import Parameter


def result(facts: ReportFacts) -> Section:
    """Give the result of the sweeps in a sentence, a few numbers and tables."""
    blocks: list[Block] = [_sweeps(facts), *_test(facts), _searched(facts)]
    leader = _leader(facts)
    if leader is not None:
        blocks.insert(0, _numbers(facts, leader))
    return Section("Result", _sentence(facts, leader), tuple(blocks), note=_note(facts))


def _leader(facts: ReportFacts) -> ReportedSweep | None:
    found = [sweep for sweep in facts.sweeps if sweep.best is not None]
    return min(found, key=lambda sweep: sweep.ranked[0].metrics[facts.metric], default=None)


def _sentence(facts: ReportFacts, leader: ReportedSweep | None) -> str:
    if leader is None or leader.best is None:
        return "No trial has finished, so there is no student yet; the failures below say why."
    error, name = leader.best.metrics[facts.metric], metric_name(facts.metric, "")
    unit = "%" if "mape" in facts.metric else facts.unit
    sentence = (
        f"The best student, trial {leader.best.trial} of {leader.name}, has a {name} of "
        f"{error:.3f} {unit}".rstrip()
    )
    teacher = facts.baselines.get("teacher")
    if teacher is not None:
        sentence += f", {_percent(error / teacher - 1)} than its teacher's {teacher:.3f}"
    repeated = facts.baselines.get("repeat_last")
    if repeated is not None:
        sentence += f" and {_percent(error / repeated - 1)} than repeating the last reading"
    return f"{sentence}; {_standing(leader, unit)}."


def _percent(change: float) -> str:
    return f"{abs(change):.1%} {'lower' if change < 0 else 'higher'}".replace("%", "\u00a0%")


def _standing(sweep: ReportedSweep, unit: str) -> str:
    best = _best_confirmed(sweep)
    if best is None:
        return "it is one seed, not confirmed"
    return (
        f"on {len(best.finished)} fresh seeds the best configuration (trial {best.trial.trial}) "
        f"came to {_mean(best)} {unit}".rstrip()
    )


def _numbers(facts: ReportFacts, leader: ReportedSweep) -> Numbers:
    best = leader.ranked[0]
    items = [(f"{best.metrics[facts.metric]:.3f}", f"best {metric_name(facts.metric, facts.unit)}")]
    items.append((f"{best.parameters:,}", "parameters of that student"))
    if facts.teacher_sizes:
        whole = facts.teacher_sizes["parameters"]
        items.append((f"{100 * best.parameters / whole:.1f}\u00a0%", f"of its teacher's {whole:,}"))
    ended = sum(len(sweep.records) for sweep in facts.sweeps)
    hours = sum(record.seconds for sweep in facts.sweeps for record in sweep.records) / 3600
    items.append((f"{ended}", f"trials ended, {hours:.1f} hours of training"))
    return Numbers(tuple(items))


def _sweeps(facts: ReportFacts) -> Table:
    errors = [f"{minutes} min" for minutes in HORIZON_MINUTES]
    rows = [_sweep_row(facts, sweep) for sweep in facts.sweeps]
    rows += [
        (name, "", "", f"{level:.3f}", *_horizons(facts, key), "", "")
        for key, name in ROLE_NAMES.items()
        if (level := facts.baselines.get(key)) is not None
    ]
    return Table(
        ("sweep", "finished", "best trial", "error", *errors, "parameters", "fresh seeds"),
        tuple(rows),
        title=f"Searches, by {metric_name(facts.metric, facts.unit)}",
        numeric=(2, 3, 4, 5, 6, 7),
    )


def _sweep_row(facts: ReportFacts, sweep: ReportedSweep) -> tuple[str, ...]:
    config, best = sweep.plan.config, sweep.best
    finished = len(sweep.with_status("finished"))
    name = f"{sweep.name} ({config.method})" if config.method not in sweep.name else sweep.name
    trials = f"{finished} of {config.trials}"
    if sweep.standing != "complete":
        trials += f", {sweep.standing}"
    if best is None:
        return (name, trials, *[""] * 6, "")
    horizons = [_error(best.metrics, _at(facts.metric, minutes)) for minutes in HORIZON_MINUTES]
    error = f"{best.metrics[facts.metric]:.3f}"
    return (
        name,
        trials,
        str(best.trial),
        error,
        *horizons,
        f"{best.parameters:,}",
        _confirmed(sweep),
    )


def _confirmed(sweep: ReportedSweep) -> str:
    best = _best_confirmed(sweep)
    if best is None:
        return "not confirmed"
    return f"{_mean(best)} ({len(best.finished)} seeds, trial {best.trial.trial})"


def _best_confirmed(sweep: ReportedSweep) -> Confirmed | None:
    return next((one for one in sweep.confirmed if one.finished), None)


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
            rows.append((f"{sweep.name}, trial {shown.trial}", *_test_cells(shown.test["student"])))
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
    ranges = dict.fromkeys(
        (name, _range(parameter))
        for sweep in facts.sweeps
        for name, parameter in sweep.plan.space.parameters.items()
    )
    rows = [
        (name, searched, *(_best_value(sweep, name, searched) for sweep in facts.sweeps))
        for name, searched in ranges
    ]
    best = [f"best of {sweep.name}" for sweep in facts.sweeps]
    headings = ("setting", "searched", *(best if facts.several else ["in the best trial"]))
    return Table(headings, tuple(rows), title="What was searched")


def _best_value(sweep: ReportedSweep, name: str, searched: str) -> str:
    parameter = sweep.plan.space.parameters.get(name)
    if sweep.best is None or parameter is None or _range(parameter) != searched:
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
    return f"Dataset {plan.config.dataset}{days}.{ahead} {facts.missing}".strip()
