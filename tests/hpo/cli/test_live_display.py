"""What a terminal shows while a sweep runs, and the lines that stand in for it elsewhere."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

import hpo.cli.display.output
import hpo.cli.display.progress.sweep_display
from hpo.cli.display.output import can_redraw
from hpo.cli.display.progress.sweep_display import MOST_ROWS, SweepDisplay
from hpo.records.ledger import Ledger
from hpo.records.sweep_plan import SweepPlan
from tests.small_sweeps import make_sweep, record

STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.jsonl")


@pytest.fixture
def plan(tmp_path: Path) -> SweepPlan:
    return make_sweep(tmp_path, [record(0, 1.0)]).read_plan()


def begin(ledger: Ledger) -> int:
    number = len(ledger.state.trials)
    ledger.append("suggested", trial=number, settings={"alpha1": number / 100}, seed=number)
    return number


def end(ledger: Ledger, trial: int, status: str = "finished", reason: str | None = None) -> None:
    metrics = {"val_mae": 9.0 - trial / 10} if status == "finished" else {}
    ledger.append("ended", trial=trial, status=status, reason=reason, metrics=metrics)


def shown(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger, plan: SweepPlan, *, terminal: bool
) -> tuple[SweepDisplay, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100, no_color=True)
    monkeypatch.setattr(hpo.cli.display.progress.sweep_display, "error_console", console)
    monkeypatch.setattr(hpo.cli.display.output, "error_console", console)
    display = SweepDisplay()
    display.on_change(plan, ledger.state)
    return display, stream


def test_a_terminal_shows_the_whole_sweep(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger, plan: SweepPlan
) -> None:
    with shown(monkeypatch, ledger, plan, terminal=True)[0] as display:
        stream = hpo.cli.display.progress.sweep_display.error_console.file
        early = begin(ledger)
        ledger.append("epoch", trial=early, epoch=4, metrics={"val_mae": 5.4321})
        for _ in range(MOST_ROWS + 2):
            end(ledger, begin(ledger))
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 60.0)
        end(ledger, begin(ledger), "failed", "the training loss must stay finite")
        end(ledger, begin(ledger), "infeasible", "too large")
        display.on_change(plan, ledger.state)
    assert isinstance(stream, io.StringIO)
    text = STYLE.sub("", stream.getvalue()).rsplit("first: ", 1)[1]
    assert text.startswith("15 of 20 trials, about ")
    assert " left" in text.splitlines()[0]
    assert "━━━━" in text
    assert "best so far: trial 14 val_mae 7.6000" in text
    assert "1 failed, the last, trial 15: the training loss must stay finite" in text
    rows = [line.split()[:4] for line in text.splitlines() if line.strip()[:1].isdigit()]
    # The one that runs stays in sight although many began later.
    assert ["0", "running", "4/30", "5.4321"] in rows
    numbers = [row[0] for row in rows if row[1] in {"running", "finished", "failed"}]
    assert numbers == ["0", *map(str, range(5, 16))]
    assert len(numbers) == MOST_ROWS


def test_elsewhere_a_line_tells_of_each_end(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger, plan: SweepPlan
) -> None:
    display, stream = shown(monkeypatch, ledger, plan, terminal=False)
    with display:
        end(ledger, begin(ledger))
        end(ledger, begin(ledger), "failed", "the loss [must] stay finite")
        for _ in range(2):
            display.on_change(plan, ledger.state)
        share = {"gpus_per_trial": 0.25, "peak": 20 * 10**9, "total": 80 * 10**9}
        ledger.append("shared", **share)
        for _ in range(2):
            display.on_change(plan, ledger.state)
    assert stream.getvalue().splitlines() == [
        "[2/20] trial 0 val_mae 9.0000: alpha1=0 (best so far)",
        "[2/20] trial 1 failed: the loss [must] stay finite",
        "the largest student takes 20.0 of a GPU's 80.0 GB: 4 trials share one",
    ]


@pytest.mark.parametrize(
    ("console", "widgets", "redraws"),
    [
        (Console(force_terminal=True), False, True),
        (Console(force_terminal=False), True, False),
        (Console(force_jupyter=True), True, True),
        (Console(force_jupyter=True), False, False),
    ],
)
def test_a_notebook_is_redrawn_where_it_has_widgets(
    monkeypatch: pytest.MonkeyPatch, console: Console, widgets: bool, redraws: bool
) -> None:
    found = object() if widgets else None
    monkeypatch.setattr(hpo.cli.display.output, "find_spec", lambda _: found)
    assert can_redraw(console) == redraws
