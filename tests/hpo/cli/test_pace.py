"""How long things take: said before, once it is known, and while they run."""

from __future__ import annotations

import io
import json
import re
import shutil
import time
from pathlib import Path

import pytest
from rich.console import Console
from rich.status import Status

import hpo.cli.display.output
import hpo.cli.display.progress.sweep_display
import hpo.cli.display.progress.teacher_display
from core.training.trainer import EpochReport
from hpo.cli.display.durations import in_words, left_in_words
from hpo.cli.display.progress.pace import Pace
from hpo.cli.display.progress.stages import stages_shown
from hpo.cli.display.progress.sweep_display import SweepDisplay
from hpo.cli.display.progress.teacher_display import TeacherDisplay
from hpo.planning.expected_time import seconds_per_export, seconds_per_trial
from hpo.records.ledger import Ledger
from tests.small_exports import Exported
from tests.small_sweeps import make_sweep, record


class Clock:
    """Stands in for the time, which tests let pass themselves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    console = Console(file=stream, width=100)
    monkeypatch.setattr(hpo.cli.display.progress.teacher_display, "error_console", console)
    monkeypatch.setattr(hpo.cli.display.progress.sweep_display, "error_console", console)
    monkeypatch.setattr(hpo.cli.display.output, "error_console", console)
    return stream


def test_a_pace_leaves_out_what_came_before_the_first_report(clock: Clock) -> None:
    pace = Pace()
    assert pace.seconds_left(1, 11) is None
    clock.seconds += 0.5
    assert pace.seconds_left(2, 11) is None  # too early
    clock.seconds += 3.5
    assert pace.seconds_left(3, 11) == pytest.approx(16.0)
    assert pace.seconds_left(11, 11) == 0.0


@pytest.mark.parametrize(
    ("seconds", "words"), [(45.2, "45 s"), (89, "89 s"), (90, "2 min"), (7200, "2.0 h")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
    assert left_in_words(seconds) == f", about {words} left"


def test_what_is_soon_over_is_not_worth_a_word() -> None:
    assert left_in_words(4.9) == left_in_words(None) == ""


def report(epoch: int) -> EpochReport:
    errors = {f"val_mae_{at}": 2.0 for at in (15, 30, 45)}
    return EpochReport(epoch, 30, errors, best_epoch=1, seconds=14.0 * epoch)


@pytest.mark.parametrize("what", ["teacher", "pruning base"])
def test_a_slow_network_is_announced_in_its_first_epoch(
    clock: Clock, lines: io.StringIO, what: str
) -> None:
    with TeacherDisplay() as display:
        display.begin(what, 30)
        for step in range(1, 8):
            display.on_step(1, step, 100)
            clock.seconds += 4.2
        display.on_epoch(report(1))
    announced, epoch = lines.getvalue().splitlines()
    assert announced == f"training the {what}: about 3.5 h, at most 30 epochs of about 7 min"
    assert epoch.startswith(f"{what} epoch 1/30: validation MAE 2.000 / 2.000 / 2.000")
    assert epoch.endswith(", best so far, 14 s, about 7 min left")


def test_targets_are_announced_too(clock: Clock, lines: io.StringIO) -> None:
    with TeacherDisplay() as display:
        for done in range(0, 1001, 250):
            display.on_targets(done, 1000)
            clock.seconds += 10.0
    assert lines.getvalue().splitlines() == [
        "storing what the teacher says: about 30 s",
        "stored what the teacher says of 1,000 windows",
    ]


def test_a_sweep_says_before_what_others_like_it_took(
    tmp_path: Path, clock: Clock, lines: io.StringIO
) -> None:
    done = record(0, 1.0, seconds=40.0, epochs=4)
    folder = make_sweep(tmp_path, [done])
    ledger, plan = Ledger(tmp_path / "ledger.jsonl"), folder.read_plan()
    display = SweepDisplay(like=lambda: [done])
    display.on_change(plan, ledger.state)
    before = "[0/20] 20 trials of about 5 min, about 1.7 h of one worker"
    assert lines.getvalue().splitlines() == [before]
    clock.seconds += 300.0
    ledger.append("suggested", trial=0, settings={}, seed=0)
    ledger.append("suggested", trial=1, settings={}, seed=1)
    ledger.append("epoch", trial=1, epoch=30, metrics={"val_mae": 2.0})
    ledger.append("ended", trial=0, status="finished", reason=None, metrics={"val_mae": 1.5})
    display.on_change(plan, ledger.state)
    # One has ended, another is about to: two of twenty in five minutes.
    assert re.search(r"\[1/20\] trial 0 .*, about 45 min left$", lines.getvalue(), re.MULTILINE)


def test_the_first_epochs_of_a_sweep_without_others_like_it_tell(
    tmp_path: Path, clock: Clock, lines: io.StringIO
) -> None:
    ledger, plan = Ledger(tmp_path / "ledger.jsonl"), make_sweep(tmp_path, [record(0, 1.0)])
    display = SweepDisplay(like=list)
    display.on_change(plan.read_plan(), ledger.state)
    ledger.append("suggested", trial=0, settings={}, seed=0)
    for epoch in (1, 2, 3):
        clock.seconds += 10.0
        ledger.append("epoch", trial=0, epoch=epoch, metrics={"val_mae": 2.0})
        display.on_change(plan.read_plan(), ledger.state)
    assert lines.getvalue() == "[0/20] about 1.7 h left\n"


def test_only_trials_of_the_same_kind_tell(tmp_path: Path) -> None:
    plan = make_sweep(tmp_path, [record(0, 1.0)]).read_plan()
    same = [record(1, 1.0, seconds=8.0, epochs=4), record(2, 1.0, seconds=4.0, epochs=1)]
    others = [
        record(3, 1.0, seconds=99.0, dataset_fingerprint="0" * 16),
        record(4, 1.0, seconds=99.0, method="ord"),
        record(5, 1.0, seconds=99.0, form="direct"),
        record(6, 1.0, seconds=99.0, base="table1"),
        record(7, 1.0, seconds=99.0, family="astgcn"),
        record(8, 1.0, seconds=0.0, epochs=0, status="infeasible"),
    ]
    assert seconds_per_trial(plan, others) is None
    assert seconds_per_trial(plan, [*same, *others]) == pytest.approx(3.0 * plan.config.epochs)


def test_exports_are_expected_to_take_as_long_as_those_before(
    tmp_path: Path, exported: Exported
) -> None:
    assert seconds_per_export(tmp_path) is None
    for at, seconds in enumerate((None, 8.0, 20.0, 9.0)):
        copy = tmp_path / f"sweep{at % 2}" / "exports" / f"{at}-trial-0001"
        shutil.copytree(exported.folder, copy)
        manifest = json.loads((copy / "manifest.json").read_text())
        assert manifest["exported"].pop("seconds") > 0  # older exports have none
        manifest["exported"] |= {} if seconds is None else {"seconds": seconds}
        (copy / "manifest.json").write_text(json.dumps(manifest))
    damaged = tmp_path / "sweep1" / "exports" / "9-trial-0002"
    damaged.mkdir()
    (damaged / "manifest.json").write_text("{")
    assert seconds_per_export(tmp_path) == 9.0


def test_stages_tell_what_is_left(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(Status, "update", lambda _, text: said.append(text))
    with stages_shown("reading records") as show:
        for done in range(3):
            show("exporting", done, 3)
            clock.seconds += 20.0
    assert said == [
        "exporting, 1 of 3",
        "exporting, 2 of 3, about 40 s left",
        "exporting, 3 of 3, about 20 s left",
    ]
