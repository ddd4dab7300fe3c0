"""Draw how much the error depended on each setting, as Optuna estimates it (fANOVA)."""

from __future__ import annotations

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from hpo.report import palette
from hpo.report.charts import new_figure
from hpo.report.facts import ReportedSweep, ReportFacts
from hpo.report.section import Panel, Section

FEWEST_TRIALS = 2
"""The fewest different errors that Optuna takes."""


def importances(facts: ReportFacts) -> Section | None:
    """Draw a bar per setting and sweep; None if no sweep has enough trials."""
    found = {
        at: shares for at, sweep in enumerate(facts.sweeps) if (shares := _shares(facts, sweep))
    }
    if not found:
        return None
    names = sorted(
        {name for shares in found.values() for name in shares},
        key=lambda name: -max(shares.get(name, 0.0) for shares in found.values()),
    )
    height = 110 + len(names) * (16 + 16 * len(found))
    figure = new_figure("share of the error's variance", "", height=height, barmode="group")
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
    panel = Panel(
        "importances", "How much of the error each setting explains", figure, _seen(facts, found)
    )
    note = (
        "Estimated by fANOVA: a forest fitted to the finished trials. It says what mattered within "
        "the ranges searched; from a few dozen trials only roughly, and from a few hardly at all."
    )
    return Section("Parameter importances", _seen(facts, found), (panel,), note=note)


def _shares(facts: ReportFacts, sweep: ReportedSweep) -> dict[str, float]:
    distributions = sweep.plan.space.distributions()
    trials = [
        create_trial(
            state=TrialState.COMPLETE,
            value=record.metrics[facts.metric],
            params=record.settings,
            distributions=distributions,
        )
        for record in sweep.ranked
        if record.settings.keys() == distributions.keys()
    ]
    if len({trial.value for trial in trials}) < FEWEST_TRIALS:
        return {}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.add_trials(trials)
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {name: float(share) for name, share in shares.items()}


def _seen(facts: ReportFacts, found: dict[int, dict[str, float]]) -> str:
    parts = []
    for at, shares in found.items():
        name = max(shares, key=lambda one: shares[one])
        where = f" in {facts.sweeps[at].name}" if facts.several else ""
        trials = len(facts.sweeps[at].ranked)
        parts.append(f"{name}{where}, {100 * shares[name]:.0f}\u00a0% over {trials} trials")
    return f"What mattered most was {'; '.join(parts)}."
