"""Check everything that a sweep needs and print its plan: ``--dry-run``.

Trains and writes nothing. Connects to the cluster, or starts Ray on this machine and ends it, since
nothing else tells whether trials have room there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpo.cli.display import durations
from hpo.cli.display.output import Format, console, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from hpo.planning.places import Places
    from hpo.planning.told_trials import Told
    from hpo.records.sweep_plan import SweepPlan
    from hpo.space.search_space import SearchSpace
    from hpo.sweep_config import SweepConfig


def check_and_show(
    config: SweepConfig,
    places: Places,
    space: SearchSpace,
    output: Format,
    *,
    tensorboard: bool,
    mlflow: str | None,
    told: Told | None = None,
) -> None:
    """Check a sweep as its start would, and print its plan.

    Args:
        config: its settings.
        places: its datasets, storage and cluster.
        space: what it searches.
        output: how to answer.
        tensorboard: whether it is to log for TensorBoard.
        mlflow: address of an MLflow that it is to log to.
        told: what another sweep found.

    Raises:
        UserError: with what to do about it.
    """
    from hpo.planning.expected_time import seconds_per_trial
    from hpo.planning.sweep_planning import plan_sweep
    from hpo.selection import all_records

    _check_extras(tensorboard, mlflow)
    plan, _ = plan_sweep(config, places, space, told)
    at_once = _trials_at_once(config, places.address)
    each = seconds_per_trial(plan, all_records(places.storage))
    seconds = None if each is None else each * config.trials / at_once
    if output is Format.json:
        print_json(_as_json(plan, at_once, seconds))
        return
    console.print(_table(plan, at_once, seconds))
    console.print("everything is as it must be; nothing was run", highlight=False)


def _check_extras(tensorboard: bool, mlflow: str | None) -> None:
    if tensorboard:
        from hpo.outcomes.tensorboard_logs import load_tensorboard

        load_tensorboard()
    if mlflow is not None:
        from hpo.outcomes.mlflow_logs import load_mlflow

        load_mlflow()


def _trials_at_once(config: SweepConfig, address: str) -> int:
    from hpo.driver.ray_cluster import cluster, trial_resources

    with cluster(address) as available:
        return trial_resources(config, available, address)[1]


def _as_json(plan: SweepPlan, at_once: int, seconds: float | None) -> dict[str, Any]:
    return {
        "sweep": plan.config.to_json(),
        "space": plan.space.to_json(),
        "teacher": plan.teacher_fingerprint,
        "trials_at_once": at_once,
        "expected_seconds": seconds,
    }


def _table(plan: SweepPlan, at_once: int, seconds: float | None) -> Table:
    from rich.table import Table

    table = Table(title=f"plan of {plan.config.name}", title_justify="left", box=None)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    for name, value in {**_chosen(plan, at_once, seconds), **_searched(plan)}.items():
        table.add_row(name, value)
    return table


def _chosen(plan: SweepPlan, at_once: int, seconds: float | None) -> dict[str, str]:
    config = plan.config
    trials = f"{config.trials}, at most {config.epochs} epochs each, {at_once} at once"
    expected = "not known; no such trial has been recorded here"
    if seconds is not None:
        expected = f"at most about {durations.in_words(seconds)}"
    return {
        "method": config.method,
        "dataset": config.dataset,
        "trials": trials,
        "search": f"sampler {config.sampler}, scheduler {config.scheduler}, seed {config.seed}",
        "minimised": config.objective,
        **_networks(plan),
        "trials take": expected,
    }


def _networks(plan: SweepPlan) -> dict[str, str]:
    """Return the networks that the sweep relies on, where it does."""
    from hpo.planning.networks import needs_teacher

    found = {}
    if needs_teacher(plan.config):
        how = "trained first; there is none yet"
        if plan.config.teachers is not None:
            how = f"made first, of {plan.config.teachers}"
        found["teacher"] = plan.teacher_fingerprint or how
    if plan.config.base_name == "table1":
        found["pruning base"] = plan.base_fingerprint or "trained first; there is none yet"
    return found


def _searched(plan: SweepPlan) -> dict[str, str]:
    return {name: _range(parameter.to_json()) for name, parameter in plan.space.parameters.items()}


def _range(fields: dict[str, Any]) -> str:
    if "choices" in fields:
        return " or ".join(map(str, fields["choices"]))
    scale = ", logarithmic" if fields.get("log") else ""
    return f"{fields['low']:g} to {fields['high']:g}{scale}"
