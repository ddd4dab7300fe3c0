"""Train a sweep's best configurations on fresh seeds: the command ``hpo confirm NAME``.

Calls ``hpo.outcomes.confirmation_runs`` and prints the ranking as a table or JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.display import durations
from hpo.cli.display.output import (
    Format,
    console,
    print_json,
    print_line,
    print_note,
)
from hpo.cli.options import STORAGE, Address, AnswerFormat, Storage, integer

if TYPE_CHECKING:
    from hpo.outcomes.confirmation_planning import ConfirmationPlan
    from hpo.records.confirmation import Confirmed
    from hpo.records.sweep_folder import SweepFolder


def confirm(
    name: Annotated[str, typer.Argument(help="A sweep's name; `hpo status` shows them.")],
    top: Annotated[
        int, typer.Option(parser=integer, help="How many of its best configurations.")
    ] = 5,
    seeds: Annotated[int, typer.Option(parser=integer, help="On how many fresh seeds each.")] = 5,
    all_seeds: Annotated[
        bool,
        typer.Option("--all-seeds", help="Give them to every configuration, and drop none."),
    ] = False,
    address: Address = "local",
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Train the best configurations of a sweep again on fresh seeds; rank them by the mean.

    Those that a test shows to be worse than the best get no further seeds; of few seeds it cannot:
    of two configurations before 6 seeds, of three before 7, of five before 8.

    Stop it at any time; the same command goes on.

    hpo confirm ord-first --top 3 --seeds 5
    """
    from hpo.cli.display.sweep_answer import fail_without_student
    from hpo.outcomes.confirmation_planning import plan_confirmation
    from hpo.outcomes.confirmation_runs import ranked_confirmations
    from hpo.records.sweep_folder import find_sweep

    folder = find_sweep(storage.resolve(), name)
    plan = plan_confirmation(folder, seeds, top=top, race=not all_seeds)
    option = " --all-seeds" if all_seeds else ""
    run_shown(plan, address, f"hpo confirm {name} --top {top} --seeds {seeds}{option}")
    ranked = ranked_confirmations(folder)
    if output is Format.json:
        print_json([_row(rank, one) for rank, one in enumerate(ranked, start=1)])
    elif ranked:
        _show(name, ranked)
        if ranked[0].finished:
            _show_next(folder, ranked[0])
    runs = [run for one in ranked for run in one.runs]
    see = f"hpo trial {name} 0 --confirmation"
    fail_without_student(runs, f"the confirmation of {name!r}", see)


def run_shown(plan: ConfirmationPlan, address: str, again: str) -> None:
    """Print how long a confirmation will take, then run it with its display.

    Args:
        plan: the runs still to be made.
        address: of a Ray cluster.
        again: the command that goes on after a stop.
    """
    from hpo.cli.display.progress.sweep_display import SweepDisplay
    from hpo.outcomes.confirmation_runs import run_confirmation

    name = plan.folder.name
    if plan.seconds:
        most = "at most " if _may_drop(plan) else ""
        print_note(
            f"confirming {name}: {len(plan.candidates)} of its best configurations on fresh seeds, "
            f"{most}{len(plan.runs)} trainings to begin, about {durations.in_words(plan.seconds)} "
            "of one worker"
        )
    with SweepDisplay(f"confirming {name}", again) as display:
        run_confirmation(plan, address, display)


def _may_drop(plan: ConfirmationPlan) -> bool:
    from hpo.outcomes.racing import looks

    return plan.race is not None and bool(looks(len(plan.race.candidates), plan.race.seeds))


def standing_in_words(one: Confirmed) -> str:
    """Return ``in_words``, the interval of the mean, and how it stands beside the best."""
    said = interval_in_words(one.standing())
    if one.drop is not None:
        return f"{said}, dropped after {one.drop.seeds}: worse than trial {one.drop.against}"
    if one.like is None:
        return said
    of = "" if one.like.sweep == one.trial.sweep else f" of {one.like.sweep}"
    return f"{said}, not distinguishable from trial {one.like.trial}{of}"


def interval_in_words(standing: dict[str, Any]) -> str:
    """Return ``in_words`` of a ``Confirmed.standing`` with the interval of the mean."""
    said = in_words(standing)
    if standing["interval"] is None:
        return said
    low, high = standing["interval"]
    return f"{said}, mean within {low:.3f} to {high:.3f} (95 %)"


def rank_in_words(rank: int, one: Confirmed | None) -> str:
    """Return a rank, as ``=1`` where nothing shows that the configuration is worse than the best.

    ``one`` is None of a single trial.
    """
    return str(rank) if one is None or one.like is None else "=1"


def in_words(summary: dict[str, Any]) -> str:
    """Return a ``Confirmed.summary`` in words, such as ``2.310 ± 0.041, 5 seeds``."""
    seeds, failed = len(summary["seeds"]), summary["failed"]
    counts = f"{seeds} seed{'s' if seeds != 1 else ''}" + (f", {failed} failed" if failed else "")
    return counts if summary["mean"] is None else f"{mean_in_words(summary)}, {counts}"


def mean_in_words(summary: dict[str, Any]) -> str:
    """Return the mean of a ``Confirmed.summary`` with its spread; a dash where all runs failed."""
    if summary["mean"] is None:
        return "-"
    spread = "" if summary["spread"] is None else f" ± {summary['spread']:.3f}"
    return f"{summary['mean']:.3f}{spread}"


def _row(rank: int, one: Confirmed) -> dict[str, Any]:
    trial = one.trial
    return {
        "rank": rank,
        "sweep": trial.sweep,
        "trial": trial.trial,
        "searched": trial.metrics[one.metric],
        **one.standing(),
        "runs": [run.trial for run in one.finished],
        "settings": trial.settings,
    }


def _show(name: str, ranked: list[Confirmed]) -> None:
    from rich.table import Table

    from hpo.cli.display.trial_table import settings_text

    metric = ranked[0].metric
    table = Table(
        title=f"{name}: {metric} over fresh seeds", title_justify="left", box=None, pad_edge=False
    )
    for heading in ("rank", "trial", "in the search", "mean ± spread", "lowest", "highest"):
        table.add_column(heading, justify="right", no_wrap=True)
    for rank, one in enumerate(ranked, start=1):
        summary = one.summary()
        table.add_row(
            rank_in_words(rank, one),
            str(one.trial.trial),
            f"{one.trial.metrics[metric]:.3f}",
            in_words(summary),
            *("-" if summary[key] is None else f"{summary[key]:.3f}" for key in _ENDS),
        )
    console.print(table)
    for rank, one in enumerate(ranked, start=1):
        line = f"{rank}: {settings_text(one.trial.settings)}; {standing_in_words(one)}"
        print_line(line)


def _show_next(folder: SweepFolder, best: Confirmed) -> None:
    from hpo.cli.display.beside_last import warn_beside_last

    repeated = folder.read_plan().baselines.get("repeat_last", {})
    what = f"the best configuration of {folder.name}"
    if warn_beside_last(what, {best.metric: best.mean}, repeated, best.metric):
        console.print(f"next: hpo export {folder.name} --top 1", highlight=False)


_ENDS = ("lowest", "highest")
