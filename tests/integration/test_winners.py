"""Winners on a real Ray: confirmed on fresh seeds, also over a stop, and exported by themselves."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.export.manifest import read_manifest
from hpo.cli.main import run
from hpo.outcomes.confirmation_runs import confirm_sweep, ranked_confirmations
from hpo.planning.places import Places
from hpo.records.ledger import read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_state import SweepState
from hpo.records.trial_records import read_records
from hpo.space.search_space import load_search_space
from hpo.sweep import SweepInterruptedError, resume_sweep, run_sweep
from hpo.sweep_config import SweepConfig
from tests.integration.sweeps import Watcher, events, local_ray
from tests.small_students import stand_in_forecasters

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One Ray for all sweeps of this file."""
    with local_ray():
        yield


@pytest.fixture(scope="module")
def searched(places: Places, space_file: Path) -> SweepFolder:
    """Three trials of two epochs: good, fair, and one that learns nothing.

    Of the paper's form: a direct student that learns nothing repeats the last reading, and is not
    the worst.
    """
    config = SweepConfig("searched", "none", "small", trials=3, epochs=2, form="paper")
    run_sweep(config, places, load_search_space(space_file))
    return SweepFolder(places.storage.resolve() / "searched")


@pytest.fixture(scope="module")
def confirmed(searched: SweepFolder, places: Places) -> SweepFolder:
    """Ctrl-C after the first run, then asked for again."""
    stopped: list[int] = []

    def stop_early(state: SweepState) -> None:
        if state.num_ended == 1 and not stopped:
            stopped.append(1)
            signal.raise_signal(signal.SIGINT)

    asked = {"top": 2, "seeds": 2, "places": places}
    with pytest.raises(SweepInterruptedError):
        confirm_sweep("searched", **asked, observer=Watcher(stop_early))
    assert len(read_records(searched.confirmation.results)) < 4
    confirm_sweep("searched", **asked)
    return searched


def test_a_stopped_confirmation_goes_on_and_runs_everything_once(confirmed: SweepFolder) -> None:
    kinds = Counter(event["event"] for event in events(confirmed.confirmation.path))
    assert kinds == {"suggested": 4, "ended": 4, "epoch": 8}
    runs = read_records(confirmed.confirmation.results)
    assert Counter(run.settings["learning_rate"] for run in runs) == {0.01: 2, 0.002: 2}
    assert len({run.seed for run in runs}) == 2
    searched = read_records(confirmed.results)
    assert not {run.seed for run in runs} & {record.seed for record in searched}
    assert all(confirmed.confirmation.student(run.trial).is_file() for run in runs)
    assert not any(confirmed.confirmation.checkpoints(run.trial).exists() for run in runs)
    # The sweep itself is what it was.
    assert [record.trial for record in searched] == [0, 1, 2]
    assert len(read_ledger(confirmed.ledger_file).trials) == 3


def test_fresh_seeds_give_other_numbers(confirmed: SweepFolder) -> None:
    for one in ranked_confirmations(confirmed):
        errors = {run.metrics["val_mae"] for run in one.finished}
        assert len(errors | {one.trial.metrics["val_mae"]}) == 3


def test_export_confirms_by_itself_what_is_not_confirmed(
    confirmed: SweepFolder,
    places: Places,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # ONNX itself is tested with ``core.export.export_folder``.
    stand_in_forecasters(monkeypatch)
    given = ["export", "searched", "--top", "3", "--seeds", "2", "--format", "json"]
    assert run([*given, "--storage", str(places.storage)]) == 0
    out, err = capsys.readouterr()
    assert "confirming searched: 3 of its best configurations on fresh seeds, 2 trainings" in err
    rows = json.loads(out)
    ranked = ranked_confirmations(confirmed)
    assert [row["trial"] for row in rows] == [one.trial.trial for one in ranked]
    assert len(ranked) == 3
    best = ranked[0].finished[0]
    manifest = read_manifest(Path(rows[0]["folder"]))
    assert manifest["settings"]["seed"] == best.seed
    assert manifest["metrics"]["validation"]["val_mae"] == best.metrics["val_mae"]
    assert len(read_records(confirmed.confirmation.results)) == 6


def test_a_trial_run_again_alone_gives_the_numbers_that_ray_gave(
    confirmed: SweepFolder, places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = ["--storage", str(places.storage), "--format", "json"]
    for what in (["0"], ["1", "--confirmation"]):
        assert run(["trial", "searched", *what, "--rerun", *storage]) == 0
        answer = json.loads(capsys.readouterr().out)
        told = {"same": True, "epochs": 2, "differences": [], "restored": False, "failure": None}
        assert answer["rerun"] == told
        assert answer["record"]["status"] == "finished"


def test_a_time_budget_ends_a_sweep_and_more_trials_go_on_with_it(
    places: Places, space_file: Path
) -> None:
    budget = 6.0

    def wait_it_out(state: SweepState) -> None:
        if any(trial.history for trial in state.trials.values()):
            time.sleep(max(0.0, begun + budget + 0.1 - time.monotonic()))

    config = SweepConfig("timed", "none", "small", trials=3, epochs=2)
    begun = time.monotonic()
    space = load_search_space(space_file)
    records = run_sweep(config, places, space, Watcher(wait_it_out), time_budget=budget)
    folder = SweepFolder(places.storage.resolve() / "timed")
    state = read_ledger(folder.ledger_file)
    assert len(records) == state.num_ended < 3
    assert len(resume_sweep("timed", places, trials=4)) == 4
    before = folder.ledger_file.read_bytes()
    assert len(resume_sweep("timed", places, trials=4)) == 4
    assert folder.ledger_file.read_bytes() == before
    kinds = Counter(event["event"] for event in events(folder.path))
    # An epoch whose checkpoint was written but whose report nobody heard is not reported again.
    assert kinds.pop("epoch") in {4, 5, 6}
    assert kinds == {"suggested": 4, "extended": 1, "ended": 4}
    trials = read_ledger(folder.ledger_file).trials
    assert [max(trial.history, default=0) for trial in trials.values()] == [2, 2, 2, 0]
    assert trials[3].status == "failed"
