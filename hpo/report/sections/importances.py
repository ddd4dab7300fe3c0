"""Draw how much each setting mattered, as Optuna estimates it.

For the error by fANOVA; for the Pareto front of a sweep with several objectives by PED-ANOVA
(Watanabe, Bansal and Hutter, IJCAI 2023): how much the settings of the trials on top, by
non-domination, differ from those of all.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.trial import TrialState, create_trial

from hpo.report import palette
from hpo.report.charts import new_figure
from hpo.report.facts import ReportedSweep, ReportFacts
from hpo.report.section import Panel, Section

FEWEST_TRIALS = 2
"""The fewest different errors that Optuna takes."""
FEWEST_ON_TOP = 10
"""Finished trials, so that a tenth of them is one."""

Shares = dict[int, dict[str, float]]
"""Place of a sweep -> setting -> its share."""


def importances(facts: ReportFacts) -> Section | None:
    """Draw a bar per setting and sweep; None if no sweep has enough trials."""
    sweeps = list(enumerate(facts.sweeps))
    found = {at: shares for at, sweep in sweeps if (shares := _of_the_error(facts, sweep))}
    if not found:
        return None
    fronts = {at: shares for at, sweep in sweeps if (shares := _of_the_front(sweep))}
    note = (
        "Estimated by fANOVA: a forest fitted to the finished trials. It says what mattered within "
        "the ranges searched; from a few dozen trials only roughly, and from a few hardly at all."
    )
    title = "How much of the error each setting explains"
    axis = "share of the error's variance"
    panels = [_panel(facts, found, "importances", title, axis, _seen(facts, found))]
    if fronts:
        title = "What decided whether a trial came near the front"
        said = "Bars of what told the tenth of the trials nearest to the front from all others."
        axis = "share of what tells them apart"
        panels.append(_panel(facts, fronts, "importances-front", title, axis, said))
        note += (
            " For the front by PED-ANOVA: settings count as far as the tenth of the trials that "
            "the fewest others dominate has others of them than all trials have."
        )
    return Section("Parameter importances", _seen(facts, found), tuple(panels), note=note)


def _panel(
    facts: ReportFacts, found: Shares, panel_name: str, title: str, axis: str, summary: str
) -> Panel:
    names = sorted(
        {name for shares in found.values() for name in shares},
        key=lambda name: -max(shares.get(name, 0.0) for shares in found.values()),
    )
    height = 110 + len(names) * (16 + 16 * len(found))
    figure = new_figure(axis, "", height=height, barmode="group")
    figure.update_xaxes(tickformat=".0%", showgrid=True, rangemode="tozero")
    figure.update_yaxes(ticks="", showgrid=False, categoryorder="array", categoryarray=names)
    figure.update_yaxes(autorange="reversed")
    for at, shares in found.items():
        own = [name for name in names if name in shares]
        figure.add_bar(
            y=own,
            x=[shares[name] for name in own],
            orientation="h",
            name=facts.sweeps[at].name,
            showlegend=len(found) > 1,
            marker={"color": palette.sweep_color(at)},
            hovertemplate="<b>%{y}</b>: %{x:.0%}<extra></extra>",
        )
    return Panel(panel_name, title, figure, summary)


def _of_the_error(facts: ReportFacts, sweep: ReportedSweep) -> dict[str, float]:
    study = _study(sweep, (facts.metric,))
    if len({trial.value for trial in study.trials}) < FEWEST_TRIALS:
        return {}
    return _shares(study, FanovaImportanceEvaluator(seed=0))


def _of_the_front(sweep: ReportedSweep) -> dict[str, float]:
    objectives = sweep.plan.config.objectives
    if len(objectives) == 1:
        return {}
    study = _study(sweep, objectives)
    if len(study.trials) < FEWEST_ON_TOP:
        return {}
    return _shares(study, PedAnovaImportanceEvaluator())


def _study(sweep: ReportedSweep, objectives: Sequence[str]) -> optuna.Study:
    """Return the finished trials of a sweep that have a value of each objective."""
    distributions = sweep.plan.space.distributions()
    study = optuna.create_study(
        directions=["minimize"] * len(objectives), sampler=optuna.samplers.RandomSampler(seed=0)
    )
    for record in sweep.ranked:
        known = {**record.costs, **record.metrics}
        if record.settings.keys() == distributions.keys() and known.keys() >= set(objectives):
            trial = create_trial(
                state=TrialState.COMPLETE,
                values=[float(known[name]) for name in objectives],
                params=record.settings,
                distributions=distributions,
            )
            study.add_trial(trial)
    return study


def _shares(study: optuna.Study, evaluator: BaseImportanceEvaluator) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        found = get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items() if math.isfinite(share)}


def _seen(facts: ReportFacts, found: Shares) -> str:
    parts = []
    for at, shares in found.items():
        name = max(shares, key=lambda one: shares[one])
        where = f" in {facts.sweeps[at].name}" if facts.several else ""
        trials = len(facts.sweeps[at].ranked)
        parts.append(f"{name}{where}, {100 * shares[name]:.0f}\u00a0% over {trials} trials")
    return f"What mattered most was {'; '.join(parts)}."
