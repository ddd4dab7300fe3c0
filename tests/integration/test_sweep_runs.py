"""Whole sweeps on a real Ray: what lies on the disk afterwards, and how trials end differently."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from core.checkpoint import load_model
from core.datasets.dataset import open_dataset
from core.experiments import train_teacher
from core.export.export_folder import open_export
from core.forms import DEFAULT_FORM, FORMS
from core.preprocessing.prepare import PreparedData, prepare
from core.stgcn import STUDENT_CHANNELS
from core.training.teacher_files import teacher_folder
from core.training.teachers import Teacher, TeacherConfig, open_teacher
from core.training.trainer import TrainingConfig
from hpo.driver import ray_tune as tuning
from hpo.driver.ray_tune import WORKER_DEATHS
from hpo.outcomes.export_best import export_best
from hpo.planning.places import Places
from hpo.records.ledger import read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_state import SweepState
from hpo.records.trial_records import TrialRecord, read_records
from hpo.search.ledger_searcher import LOST_WORKER, LedgerSearcher
from hpo.selection import best
from hpo.space.search_space import built_in_search_space, load_search_space
from hpo.sweep import SweepInterruptedError, resume_sweep, run_sweep
from hpo.sweep_config import SweepConfig
from tests.folder_contents import contents
from tests.integration.sweeps import Watcher, deadly_trial, descendants, events, local_ray

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


ONE_BY_ONE = {
    "trials": 4,
    "epochs": 4,
    "scheduler": "asha",
    "max_concurrent": 1,
    "form": "paper",
}
"""A student of the direct form that learns nothing repeats the last reading: that is not poor."""


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One Ray for all sweeps of this file."""
    with local_ray():
        yield


@pytest.fixture(scope="module")
def prepared(traffic: Path) -> PreparedData:
    return prepare(open_dataset(traffic / "small"))


@pytest.fixture(scope="module")
def teacher(places: Places, prepared: PreparedData) -> Teacher:
    """A hasty teacher of the usual form, so that no sweep trains its own."""
    quick = TrainingConfig(epochs=2, learning_rate=1e-2, windows_per_segment=5)
    config = TeacherConfig(STUDENT_CHANNELS, quick, FORMS[DEFAULT_FORM].network)
    return train_teacher(prepared, config, places.storage, lambda _: None)


@pytest.fixture(scope="module")
def taught(places: Places, teacher: Teacher) -> list[TrialRecord]:
    """Four trials of ``ord``, two epochs each, two at once."""
    seen: list[int] = []

    def on_state(state: SweepState) -> None:
        seen.append(state.num_ended)
        assert len(state.with_status("running")) <= 2

    config = SweepConfig("taught", "ord", "small", trials=4, epochs=2)
    watcher = Watcher(on_state)
    records = run_sweep(config, places, observer=watcher)
    assert watcher.targets is not None
    assert watcher.targets[0] == watcher.targets[1] > 0
    assert seen == sorted(seen)
    assert seen[-1] == 4
    return records


@pytest.fixture(scope="module")
def mixed(places: Places, space_file: Path) -> list[TrialRecord]:
    """One after another under ASHA: good, fair, one that learns nothing, one that diverges."""
    config = SweepConfig("mixed", "none", "small", **ONE_BY_ONE)
    return run_sweep(config, places, load_search_space(space_file))


def test_every_trial_has_its_record_its_events_and_its_student(
    taught: list[TrialRecord], places: Places, teacher: Teacher, prepared: PreparedData
) -> None:
    folder = SweepFolder(places.storage / "taught")
    assert [record.trial for record in taught] == [0, 1, 2, 3]
    assert read_records(folder.results) == taught
    trials = read_ledger(folder.ledger_file).trials
    points = built_in_search_space("ord").points()
    assert [record.settings for record in taught][: len(points)] == points[: len(taught)]
    for record in taught:
        trial = trials[record.trial]
        assert trial.status == record.status == "finished"
        assert (trial.settings, trial.seed) == (record.settings, record.seed)
        assert trial.metrics == record.metrics == trial.history[record.best_epoch]
        assert trial.history.keys() == {1, 2}
        errors = {epoch: metrics["val_mae"] for epoch, metrics in trial.history.items()}
        assert errors[record.best_epoch] == min(errors.values())
        assert record.teacher_fingerprint == teacher.fingerprint
        assert record.dataset_fingerprint == prepared.fingerprint
        assert record.student is not None
        model, _ = load_model(places.storage / record.student, prepared.graph_kernel)
        assert sum(tensor.numel() for tensor in model.parameters()) == record.parameters
        assert not folder.checkpoints(record.trial).exists()
    kinds = [event["event"] for event in events(folder.path)]
    assert [kinds.count(kind) for kind in ("suggested", "epoch", "ended")] == [4, 8, 4]


def test_trials_differ_and_their_table_says_so(taught: list[TrialRecord], places: Places) -> None:
    assert len({record.metrics["val_mae"] for record in taught}) == 4
    table = pd.read_parquet(places.storage / "taught" / "results")
    assert list(table["val_mae"]) == [record.metrics["val_mae"] for record in taught]
    assert list(table["setting_alpha1"]) == [record.settings["alpha1"] for record in taught]


def test_a_finished_sweep_has_nothing_to_resume(taught: list[TrialRecord], places: Places) -> None:
    before = contents(places.storage / "taught")
    watcher = Watcher(lambda _: None)
    assert resume_sweep("taught", places, watcher) == taught
    assert contents(places.storage / "taught") == before
    assert watcher.changes == 1


def test_a_diverging_trial_fails_with_its_reason_and_the_others_go_on(
    mixed: list[TrialRecord],
) -> None:
    assert [record.status for record in mixed].count("failed") == 1
    failed = mixed[3]
    assert failed.status == "failed"
    assert failed.reason is not None
    assert "must stay finite, got" in failed.reason
    assert "1e+30" in failed.reason
    assert failed.student is None
    assert mixed[0].status == "finished"
    assert all(record.reason is None for record in mixed[:3])


def test_asha_prunes_what_learns_nothing_and_keeps_what_it_said(
    mixed: list[TrialRecord], places: Places
) -> None:
    folder = SweepFolder(places.storage / "mixed")
    pruned = mixed[2]
    assert pruned.status == "pruned"
    assert 1 <= pruned.epochs < 4
    assert pruned.student is None
    assert pruned.metrics["val_mae"] > mixed[0].metrics["val_mae"]
    trial = read_ledger(folder.ledger_file).trials[2]
    assert trial.status == "pruned"
    assert trial.history[pruned.best_epoch] == pruned.metrics == trial.metrics
    assert max(trial.history) == pruned.epochs
    best = read_ledger(folder.ledger_file).best("val_mae")
    assert best is not None
    assert best.number in {0, 1}


def test_asha_knows_after_a_resume_what_ran_before(
    mixed: list[TrialRecord], places: Places, space_file: Path
) -> None:
    stopped: list[int] = []

    def stop_after_two(state: SweepState) -> None:
        if state.num_ended == 2 and not stopped:
            stopped.append(state.num_begun)
            signal.raise_signal(signal.SIGTERM)

    config = SweepConfig("halved", "none", "small", **ONE_BY_ONE)
    with pytest.raises(SweepInterruptedError):
        run_sweep(config, places, load_search_space(space_file), Watcher(stop_after_two))
    # Alone, the third would be the best of its rung and run to its end.
    ran = {
        name: [(record.status, record.epochs, record.metrics) for record in records]
        for name, records in (("through", mixed), ("twice", resume_sweep("halved", places)))
    }
    assert ran["through"][2][0] == "pruned"
    assert ran["twice"] == ran["through"]


def test_a_killed_worker_is_tried_again_from_its_checkpoint(
    mixed: list[TrialRecord],
    places: Places,
    space_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, int]] = []
    killed: list[int] = []
    tell = LedgerSearcher.on_trial_result

    def listen(self: LedgerSearcher, trial_id: str, result: dict[str, Any]) -> None:
        if "ended" not in result and "epoch" in result:
            told.append((result["pid"], result["epoch"]))
        tell(self, trial_id, result)

    def kill_at_epoch_2(state: SweepState) -> None:
        if not killed and state.trials and 2 in state.trials[0].history:
            mine = descendants(os.getpid())
            killed.extend(pid for pid, name in mine.items() if name.startswith("ray::ImplicitFunc"))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(LedgerSearcher, "on_trial_result", listen)
    config = SweepConfig("killed", "none", "small", trials=1, epochs=4, form="paper")
    space = load_search_space(space_file)
    (record,) = run_sweep(config, places, space, Watcher(kill_at_epoch_2))
    assert len(killed) == 1
    pids = list(dict.fromkeys(pid for pid, _ in told))
    assert pids[0] == killed[0]
    assert len(pids) == 2
    # Its last two epochs are told again: nobody may have heard of them.
    assert min(epoch for pid, epoch in told if pid == pids[1]) in {1, 2, 3}
    history = read_ledger(places.storage / "killed" / "ledger.jsonl").trials[0].history
    assert sorted(history) == [1, 2, 3, 4]
    assert (record.status, record.epochs) == ("finished", 4)
    # The same first point with the same seed, never killed: the same numbers.
    assert (record.settings, record.seed) == (mixed[0].settings, mixed[0].seed)
    assert record.metrics == mixed[0].metrics
    kinds = [event["event"] for event in events(places.storage / "killed")]
    assert kinds.count("suggested") == kinds.count("ended") == 1


def test_a_trial_that_always_kills_its_worker_is_given_up(
    places: Places, space_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    tell = LedgerSearcher.on_trial_result

    def listen(self: LedgerSearcher, trial_id: str, result: dict[str, Any]) -> None:
        told.append((result["pid"], result["epoch"]))
        tell(self, trial_id, result)

    monkeypatch.setattr(LedgerSearcher, "on_trial_result", listen)
    monkeypatch.setattr(tuning, "run_trial", deadly_trial)
    config = SweepConfig("deadly", "none", "small", trials=1, epochs=4)
    (record,) = run_sweep(config, places, load_search_space(space_file))
    assert (record.status, record.reason) == ("failed", LOST_WORKER)
    assert len({pid for pid, _ in told}) == 1 + WORKER_DEATHS


class Listener(Watcher):
    """Hears the training of what a sweep lacks, too."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.teacher_epochs = 0

    def on_teacher_epoch(self, report: object) -> None:
        self.teacher_epochs += 1

    def on_teacher_step(self, epoch: int, step: int, steps: int) -> None:
        pass


def test_a_sweep_of_prune_trains_its_base_and_finds_students_within_a_budget(
    places: Places, teacher: Teacher, prepared: PreparedData
) -> None:
    config = SweepConfig("pruned", "prune", "small", trials=2, epochs=2, max_parameters=3000)
    listener = Listener()
    records = run_sweep(config, places, observer=listener)
    assert listener.teacher_epochs > 0
    plan = SweepFolder(places.storage / "pruned").read_plan()
    base = open_teacher(teacher_folder(places.storage, str(plan.base_fingerprint)))
    assert base.is_pruning_base
    assert plan.teacher_fingerprint == teacher.fingerprint
    for record in records:
        assert (record.status, record.loss, record.base) == ("finished", "stcd", "table1")
        assert 0.98 * 3000 <= record.parameters <= 3000
        model, _ = load_model(places.storage / str(record.student), prepared.graph_kernel)
        assert model.config.kept is not None
        assert model.config.parameters == record.parameters
        assert record.epochs == 2 + record.settings["fine_tuning_epochs"]
    (row, *_) = best("small", places.storage, method="prune", max_parameters=3000)
    assert (row.loss, row.base) == ("stcd", "table1")
    (export,) = export_best(SweepFolder(places.storage / "pruned"), top=1)
    opened = open_export(export)
    assert opened.model.config.kept is not None
    assert opened.manifest["lineage"]["base_fingerprint"] == base.fingerprint
    # The base is there now: the next sweep trains nothing of its own.
    again = SweepConfig("again", "prune", "small", trials=1, epochs=2, loss="none")
    assert [one.status for one in run_sweep(again, places, observer=Watcher(lambda _: None))] == [
        "finished"
    ]


def test_widths_beyond_a_budget_are_never_trained(places: Places, teacher: Teacher) -> None:
    config = SweepConfig(
        "wide",
        "stcd",
        "small",
        trials=3,
        epochs=1,
        form="paper",
        teacher=teacher.fingerprint,
        max_parameters=900,
        objective="val_mae,parameters",
        sampler="nsga2",
    )
    records = run_sweep(config, places, built_in_search_space("widths", "paper"))
    by_status = {
        status: [record for record in records if record.status == status]
        for status in ("finished", "infeasible")
    }
    assert len(by_status["finished"]) == 3
    assert len(by_status["infeasible"]) == len(records) - 3 >= 1
    assert all(record.parameters <= 900 for record in by_status["finished"])
    assert all(
        record.parameters > 900 and record.student is None and record.seconds == 0
        for record in by_status["infeasible"]
    )
    state = read_ledger(places.storage / "wide" / "ledger.jsonl")
    assert state.num_ended == 3
    assert resume_sweep("wide", places) == records


def test_latency_is_weighed_and_only_the_best_student_kept(
    places: Places, teacher: Teacher
) -> None:
    config = SweepConfig(
        "quick",
        "stcd",
        "small",
        trials=3,
        epochs=1,
        form="paper",
        teacher=teacher.fingerprint,
        max_latency_ms=1e4,
        objective="val_mae,parameters,latency_ms",
        keep_checkpoints=1,
    )
    records = run_sweep(config, places, built_in_search_space("widths", "paper"))
    folder = SweepFolder(places.storage / "quick")
    state = read_ledger(folder.ledger_file)
    assert [record.status for record in records] == ["finished"] * 3
    assert [record.latency_ms for record in records] == [
        state.trials[record.trial].sizes["latency_ms"] for record in records
    ]
    # The first two points have Table 1's widths; the largest student was timed for the plan.
    assert records[0].latency_ms == records[1].latency_ms
    assert len(state.latencies) == 3
    assert folder.read_plan().reference["latency_ms"] in state.latencies.values()
    best = min(records, key=lambda record: record.metrics["val_mae"]).trial
    students = [folder.student(record.trial) for record in records]
    assert [path.is_file() for path in students] == [number == best for number in range(3)]
    # As after a crash between the end of a trial and a deletion.
    other = next(path for path in students if not path.is_file())
    other.write_bytes(students[best].read_bytes())
    before = events(folder.path)
    assert resume_sweep("quick", places) == records
    assert [path.is_file() for path in students] == [number == best for number in range(3)]
    assert events(folder.path) == before


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("scheduler", ["hyperband", "median"])
def test_schedulers_of_our_own_run_to_the_end_of_a_sweep(
    scheduler: str, at_once: int, places: Places, space_file: Path
) -> None:
    settings = {**ONE_BY_ONE, "scheduler": scheduler, "max_concurrent": at_once}
    config = SweepConfig(f"by-{scheduler}-{at_once}", "none", "small", **settings)
    records = run_sweep(config, places, load_search_space(space_file))
    assert len(records) == 4
    # The fourth diverges before any scheduler looks.
    assert records[3].status == "failed"
    assert all(record.status in {"finished", "pruned"} for record in records[:3])
    # Of two that run side by side it is chance which is ahead, and so judged first.
    first = records[:1] if at_once == 1 else records[:3]
    assert "finished" in {record.status for record in first}
