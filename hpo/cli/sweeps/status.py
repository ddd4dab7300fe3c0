"""Show the state of sweeps, also while they run: the command ``hpo status [NAME]``.

Reads plans and ledgers; changes nothing.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.display.output import Format, print_line
from hpo.cli.options import STORAGE, AnswerFormat, Storage

if TYPE_CHECKING:
    from hpo.records.sweep_folder import SweepFolder
    from hpo.records.sweep_plan import SweepOutline
    from hpo.records.sweep_state import Status, SweepState

_COUNTED: tuple[Status, ...] = ("finished", "pruned", "failed", "infeasible", "running")


def status(
    name: Annotated[str | None, typer.Argument(help="A sweep's name; by default all.")] = None,
    watching: Annotated[
        bool, typer.Option("--watch", help="Follow one sweep until it ends; Ctrl-C ends that only.")
    ] = False,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Show how one sweep stands, or all of them."""
    from core.errors import ConfigError
    from hpo.cli.display.progress.watching import watch
    from hpo.records.sweep_folder import all_sweeps, find_sweep

    if watching and (name is None or output is Format.json):
        raise ConfigError("--watch follows one sweep for people; give its name and no --format")
    if name is not None:
        if watching:
            watch(find_sweep(storage, name))
        _show_one(find_sweep(storage, name), output)
    else:
        _show_all(all_sweeps(storage), output)


def _summary(folder: SweepFolder) -> dict[str, Any]:
    from hpo.records.ledger import read_ledger
    from hpo.records.sweep_plan import extended_plan

    state = read_ledger(folder.ledger_file)
    plan = extended_plan(folder.read_outline(), state)
    best = state.best(plan.config.metric)
    return {
        "sweep": folder.name,
        "method": plan.config.method,
        "dataset": plan.config.dataset,
        "state": _state(folder, state.num_ended >= plan.config.trials),
        "trials": plan.config.trials,
        **{key: len(state.with_status(key)) for key in _COUNTED},
        "objective": plan.config.objective,
        "best": best.metrics[plan.config.metric] if best else None,
        "best_trial": best.number if best else None,
        "confirmed": _confirmed(folder, plan.config.metric),
        "settled": None if state.settled is None else vars(state.settled),
        "told": dict(Counter(one.sweep for one in plan.told)),
    }


def _confirmed(folder: SweepFolder, metric: str) -> dict[str, Any] | None:
    """Return the best configuration on fresh seeds: its trial and ``Confirmed.standing``."""
    from hpo.records.confirmation import confirmed
    from hpo.records.ranking import ranked_records
    from hpo.records.trial_records import read_records

    if not folder.confirmation.results.is_dir():
        return None
    ranked = ranked_records(read_records(folder.results), metric)
    known = confirmed(folder, ranked, metric)
    if not known or not known[0].finished:
        return None
    equals = [one.trial.trial for one in known if one.like is not None]
    return {"trial": known[0].trial.trial, **known[0].standing(), "equals": equals}


def _readable_summary(folder: SweepFolder) -> dict[str, Any] | None:
    """Return the summary of a sweep among others; None, and a line about it, if it is damaged."""
    from core.errors import UserError
    from core.files import log_left_out

    try:
        return _summary(folder)
    except UserError as error:
        log_left_out(f"sweep {folder.name!r}", error)
        return None


def _weighed(plan: SweepOutline, state: SweepState) -> dict[str, Any]:
    """Return the Pareto front and the hypervolume over time; empty with one objective."""
    from hpo.space.objectives import hypervolume_history, pareto_front

    objectives = plan.config.objectives
    if len(objectives) == 1:
        return {}
    finished = state.with_status("finished")
    points = [trial.values(objectives) for trial in finished]
    history = hypervolume_history(points, plan.reference)
    return {
        "pareto": [
            {"trial": finished[index].number, **dict(zip(objectives, points[index], strict=True))}
            for index in pareto_front(points)
        ],
        "hypervolume": {
            "reference": plan.reference,
            "history": [
                {"trial": trial.number, "share": share}
                for trial, share in zip(finished, history, strict=False)
            ],
        },
    }


def _state(folder: SweepFolder, complete: bool) -> str:
    if complete:
        return "complete"
    return "running" if folder.is_driven() else "stopped"


def _show_one(folder: SweepFolder, output: Format) -> None:
    from hpo.cli.display.output import LOOKS_AHEAD, console, print_json
    from hpo.cli.display.settling import settled_in_words
    from hpo.cli.display.trial_table import trial_table
    from hpo.records.ledger import read_ledger

    summary, plan = _summary(folder), folder.read_outline()
    state = read_ledger(folder.ledger_file)
    weighed = _weighed(plan, state)
    if output is Format.json:
        details = [vars(trial) for trial in state.trials.values()]
        print_json({**summary, **weighed, "details": details})
        return
    console.print(trial_table(plan, state))
    if weighed:
        _show_front(plan, weighed)
    done = summary["finished"] + summary["pruned"] + summary["failed"]
    console.print(
        f"{folder.name} is {summary['state']}: {done} of {summary['trials']} trials ended"
        f" ({summary['pruned']} pruned, {summary['failed']} failed)"
        + (f"; {summary['infeasible']} beyond limits" if summary["infeasible"] else ""),
        highlight=False,
    )
    for sweep, count in summary["told"].items():
        console.print(f"its sampler began with {count} trials of {sweep}", highlight=False)
    if state.settled is not None:
        line = settled_in_words(state.settled, plan.config.metric)
        more = f"hpo resume {folder.name} --trials {2 * state.settled.trials}"
        print_line(f"{line}; `{more}` goes on")
    if summary["best"] is not None:
        print_line(_best_line(summary, plan.config.metric))
    if _looks_ahead(plan):
        print_line(LOOKS_AHEAD)
    if summary["state"] == "stopped":
        console.print(f"next: hpo resume {folder.name}", highlight=False)


def _best_line(summary: dict[str, Any], metric: str) -> str:
    """Name the best configuration: on fresh seeds where any is confirmed, else a single trial."""
    from hpo.cli.students.confirm import interval_in_words
    from hpo.records.ranked_trials import luck_in_words

    known = summary["confirmed"]
    if known is not None:
        said = f"trial {known['trial']}, {metric} {interval_in_words(known)}{_equals(known)}"
        return f"best on fresh seeds: {said}"
    luck = luck_in_words(summary["finished"], luck=None)
    single = f"trial {summary['best_trial']}, {metric} {summary['best']:.4f}"
    return f"best single trial: {single}, not confirmed; {luck}"


def _equals(known: dict[str, Any]) -> str:
    """Name the confirmed configurations that are not distinguishable from the best."""
    if not known["equals"]:
        return ""
    numbers = ", ".join(map(str, known["equals"]))
    return f"; not distinguishable from it: trial{'s' * (len(known['equals']) > 1)} {numbers}"


def _looks_ahead(plan: SweepOutline) -> bool:
    """Return whether errors of the sweep knew later readings, as far as its dataset is there."""
    from core.datasets.dataset import CARD_FILE, open_dataset
    from core.preprocessing.gaps import CAUSAL

    folder = Path(plan.data_folder) / plan.config.dataset
    if plan.config.gaps == CAUSAL or not (folder / CARD_FILE).is_file():
        return False
    return bool(open_dataset(folder).card.missing_share)


def _show_front(plan: SweepOutline, weighed: dict[str, Any]) -> None:
    from rich.table import Table

    from hpo.cli.display.output import console

    objectives = plan.config.objectives
    table = Table("trial", *objectives, title="Pareto front", title_justify="left", box=None)
    for row in weighed["pareto"]:
        values = (row[name] for name in objectives)
        numbers = (f"{value:,.0f}" if value == int(value) else f"{value:.4f}" for value in values)
        table.add_row(str(row["trial"]), *numbers)
    console.print(table)
    history = weighed["hypervolume"]["history"]
    if history:
        console.print(
            f"hypervolume {history[-1]['share']:.4f}, a quarter of the way {_quarter(history):.4f}",
            highlight=False,
        )


def _quarter(history: list[dict[str, Any]]) -> float:
    return float(history[max(0, len(history) // 4 - 1)]["share"])


def _show_all(folders: list[SweepFolder], output: Format) -> None:
    from rich.table import Table

    from hpo.cli.display.output import console, print_json

    summaries = [summary for folder in folders if (summary := _readable_summary(folder))]
    if output is Format.json:
        print_json(summaries)
        return
    columns = ("sweep", "method", "dataset", "state")
    table = Table(*columns, "finished", "failed", "best", box=None, pad_edge=False)
    for summary in summaries:
        finished = f"{summary['finished']} of {summary['trials']}"
        cells = (str(summary[key]) for key in columns)
        table.add_row(*cells, finished, str(summary["failed"]), _best_cell(summary))
    console.print(table if summaries else "no sweep yet; begin with `hpo sweep METHOD`")


def _best_cell(summary: dict[str, Any]) -> str:
    """Return the best mean over fresh seeds, or else the best single trial's error."""
    from hpo.cli.students.confirm import mean_in_words

    if summary["best"] is None:
        return ""
    metric, known = summary["objective"].split(",")[0], summary["confirmed"]
    if known is None:
        return f"{metric} {summary['best']:.3f} (one seed)"
    return f"{metric} {mean_in_words(known)}"
