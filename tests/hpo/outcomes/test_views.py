"""Views of a ledger: an Optuna storage, TensorBoard logs, and a terminal that watches."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
import pytest

from core.errors import ConfigError
from hpo.cli.display.progress.sweep_display import SweepDisplay
from hpo.cli.main import run
from hpo.outcomes.optuna_export import export_study
from hpo.outcomes.tensorboard_logs import TensorBoardLogs
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.records.sweep_state import SweepState
from hpo.records.trial_records import write_record
from hpo.storage.storage import Storage
from tests.folder_contents import contents
from tests.small_sweeps import SETTINGS, make_sweep, make_sweep_under_way, note, record

Output = pytest.CaptureFixture[str]


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    return make_sweep_under_way(tmp_path / "runs")


def test_a_study_says_what_the_ledger_says(sweep: SweepFolder, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_record(sweep.results, record(0, 2.0, ended="2026-01-01T00:02:00+00:00"))
    assert export_study(sweep, url) == 3
    study = optuna.load_study(study_name="first", storage=url)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert study.best_trial.params == SETTINGS
    assert study.best_value == 2.0
    assert study.trials[0].intermediate_values == {1: 3.0, 2: 2.0, 3: 2.5}
    assert study.trials[1].user_attrs == {"trial": 1, "seed": 71, "status": "pruned"}
    assert study.user_attrs == {"objectives": ["val_mae"]}
    assert study.metric_names == ["val_mae"]
    zone = datetime.now().astimezone().tzinfo
    ends = (study.trials[0].datetime_start, study.trials[0].datetime_complete)
    told = [one.replace(tzinfo=zone).astimezone(UTC).isoformat() for one in ends]
    assert told == ["2026-01-01T00:00:00+00:00", "2026-01-01T00:02:00+00:00"]
    assert study.directions == [optuna.study.StudyDirection.MINIMIZE]


def test_a_study_is_written_once(sweep: SweepFolder, tmp_path: Path, capsys: Output) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    given = ["study", "first", "--to", url, "--storage", str(sweep.storage)]
    assert run(given) == 0
    assert "study first: 3 trials that ended" in capsys.readouterr().out
    assert run(given) == 2
    assert "must not hold a study called 'first' yet" in capsys.readouterr().err
    assert len(optuna.load_study(study_name="first", storage=url).trials) == 3


@pytest.mark.parametrize("url", ["nowhere", "sqlite:////nowhere/study.db", "no+such://host:1/db"])
def test_a_storage_that_cannot_be_used_gives_one_line(
    sweep: SweepFolder, capsys: Output, url: str
) -> None:
    assert run(["study", "first", "--to", url, "--storage", str(sweep.storage)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hpo: --to must be an Optuna storage that can be written, such as")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:?timeout=9"])
def test_a_study_that_would_be_gone_at_once_is_refused(
    sweep: SweepFolder, capsys: Output, url: str
) -> None:
    assert run(["study", "first", "--to", url, "--storage", str(sweep.storage)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "which ends with this command; name a file" in line


def test_a_study_of_nothing_is_refused(tmp_path: Path, capsys: Output) -> None:
    folder = make_sweep(tmp_path, [record(0, 1.0)])  # its ledger is gone
    url = f"sqlite:///{tmp_path}/study.db"
    assert run(["study", "first", "--to", url, "--storage", str(folder.storage)]) == 2
    assert "a study needs a trial that ended, but sweep 'first' has" in capsys.readouterr().err
    assert not (tmp_path / "study.db").exists()


def test_a_study_of_a_damaged_ledger_is_refused(
    sweep: SweepFolder, tmp_path: Path, capsys: Output
) -> None:
    ledger = sweep.ledger_file.read_text()
    sweep.ledger_file.write_text(ledger.replace('"batch_size": 50', '"batch_size": "fifty"'))
    url = f"sqlite:///{tmp_path}/study.db"
    assert run(["study", "first", "--to", url, "--storage", str(sweep.storage)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hpo: trial 0 in the ledger of sweep 'first' must be one of its search")
    assert line.endswith("; restore the ledger from a copy")


class Writer:
    """Stands in for TensorBoard's."""

    opened: dict[str, list[Any]]
    closed: Counter[str]

    def __init__(self, folder: str) -> None:
        self.name = Path(folder).name
        Path(folder).mkdir(parents=True)
        self.opened.setdefault(self.name, [])

    def add_scalar(self, name: str, value: float, epoch: int) -> None:
        self.opened[self.name].append((name, value, epoch))

    def add_text(self, name: str, text: str) -> None:
        self.opened[self.name].append((name, text))

    def close(self) -> None:
        self.closed[self.name] += 1


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> type[Writer]:
    module = ModuleType("torch.utils.tensorboard")
    fresh = type("Fresh", (Writer,), {"opened": {}, "closed": Counter()})
    module.SummaryWriter = fresh  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return fresh


def test_every_epoch_is_logged_once_and_what_ended_is_closed(
    sweep: SweepFolder, writer: type[Writer]
) -> None:
    logs = TensorBoardLogs(sweep.path / "tensorboard")
    assert not (sweep.path / "tensorboard").exists()
    ledger, plan = Ledger(sweep.ledger_file), sweep.read_plan()
    logs.on_change(plan, ledger.state)
    logs.on_change(plan, ledger.state)
    ledger.append("epoch", trial=3, epoch=2, metrics={"val_mae": 4.5})
    logs.on_change(plan, ledger.state)
    ledger.close()
    assert writer.closed == {"0000": 1, "0001": 1, "0002": 1}
    shown = [f"{name}={value}" for name, value in {**SETTINGS, "seed": 73}.items()]
    text = ", ".join(shown)
    assert writer.opened["0003"] == [
        ("settings", text),
        *[("val_mae", 5.0, 1), ("train_loss", 2.5, 1), ("val_mae", 4.5, 2)],
    ]
    assert writer.opened["0002"][-1] == ("reason", "too hot")
    assert sum(one[0] == "val_mae" for one in writer.opened["0000"]) == 3


def test_logs_begin_anew_when_a_sweep_goes_on(sweep: SweepFolder, writer: type[Writer]) -> None:
    state, plan = read_ledger(sweep.ledger_file), sweep.read_plan()
    TensorBoardLogs(sweep.path / "tensorboard").on_change(plan, state)
    stale = sweep.path / "tensorboard" / "0009"
    stale.mkdir()
    TensorBoardLogs(sweep.path / "tensorboard").on_change(plan, state)
    assert not stale.exists()
    assert (sweep.path / "tensorboard" / "0003").is_dir()


def test_without_tensorboard_one_line_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"needs the package tensorboard, .*\[tensorboard\]"):
        TensorBoardLogs(tmp_path)


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Storage, "poll_seconds", 0.02)


@pytest.mark.usefixtures("quick_looks")
def test_a_watcher_sees_what_another_process_writes(
    sweep: SweepFolder, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver ends a trial, and begins and ends another, while somebody watches."""
    driving, shown = threading.Event(), threading.Semaphore(0)
    show = SweepDisplay.on_change

    def on_change(display: SweepDisplay, plan: SweepPlan, state: SweepState) -> None:
        show(display, plan, state)
        shown.release()

    monkeypatch.setattr(SweepDisplay, "on_change", on_change)

    def drive() -> None:
        with sweep.driver_lock():
            driving.set()
            assert shown.acquire(timeout=60), "the sweep as it was"
            ledger = Ledger(sweep.ledger_file)
            ended = {"status": "finished", "metrics": {"val_mae": 1.5}, "reason": None}
            ledger.append("ended", trial=3, **ended)
            assert shown.acquire(timeout=60), "with the trial that ended"
            note(ledger, 4, [8.0], "finished")
            ledger.close()

    driver = threading.Thread(target=drive)
    driver.start()
    assert driving.wait(10)
    assert run(["status", "first", "--watch", "--storage", str(sweep.storage)]) == 0
    driver.join()
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert lines[0].startswith("[4/20] trial 3 val_mae 1.5000")
    assert lines[0].endswith("(best so far)")
    assert lines[1].startswith("[5/20] trial 4 val_mae 8.0000")
    assert len(lines) == 2
    assert "first is stopped: 5 of 20 trials ended" in out


@pytest.mark.usefixtures("quick_looks")
def test_watching_ends_at_once_where_nobody_drives(sweep: SweepFolder, capsys: Output) -> None:
    before = contents(sweep.path)
    assert run(["status", "first", "--watch", "--storage", str(sweep.storage)]) == 0
    assert capsys.readouterr().err == ""
    assert before == contents(sweep.path)


@pytest.mark.parametrize("arguments", [[], ["first", "--format", "json"]])
def test_watching_is_for_one_sweep_and_for_people(
    sweep: SweepFolder, capsys: Output, arguments: list[str]
) -> None:
    given = ["status", *arguments, "--watch", "--storage", str(sweep.storage)]
    assert run(given) == 2
    assert "--watch follows one sweep for people" in capsys.readouterr().err


def test_an_empty_state_shows_nothing(writer: type[Writer], tmp_path: Path) -> None:
    plan = make_sweep(tmp_path, [record(0, 1.0)]).read_plan()
    TensorBoardLogs(tmp_path / "logs").on_change(plan, SweepState())
    assert writer.opened == {}
