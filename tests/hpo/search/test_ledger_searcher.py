"""The searcher without Ray: what it hands out, in which order, and what it writes down first."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_state import OUT_OF_MEMORY, Trial
from hpo.search.ledger_searcher import LOST_WORKER, KnownTrials, LedgerSearcher
from hpo.search.samplers import SAMPLERS
from hpo.space.search_space import SearchSpace, built_in_search_space
from hpo.sweep_config import SweepConfig

pytestmark = pytest.mark.usefixtures("quiet_optuna")

SPACE = built_in_search_space("ord", "paper")
POINTS = SPACE.points()
QUICK = sorted(SAMPLERS.keys() - {"gp"})
Settings = dict[str, Any]


class Session:
    """One life of a driver: opens the sweep's ledger and plays Ray Tune."""

    def __init__(
        self,
        folder: Path,
        *,
        at_once: int = 1,
        space: SearchSpace = SPACE,
        known: KnownTrials | None = None,
        **settings: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "ledger.jsonl"
        self.ledger = Ledger(self.path)
        self.recorded: dict[int, tuple[str, str | None, dict[str, Any]]] = {}
        fields = {"trials": 8, "epochs": 3, "form": "paper", **settings}
        config = SweepConfig("night", "ord", "synthetic", **fields)
        self.searcher = LedgerSearcher(
            config, space, self.ledger, "/sweeps/night", at_once, self.record, known=known
        )
        self.asked = 0

    def record(self, trial: Trial, status: str, reason: str | None, facts: dict[str, Any]) -> None:
        """Stand in for the recorder: the record comes before the ``ended`` event."""
        assert read_ledger(self.path).trials[trial.number].status == "running"
        assert trial.number not in self.recorded
        self.recorded[trial.number] = (status, reason, facts)

    def suggest(self) -> tuple[str, Any]:
        ray_id = f"ray-{id(self)}-{self.asked}"
        self.asked += 1
        suggestion = self.searcher.suggest(ray_id)
        if isinstance(suggestion, dict):
            told = read_ledger(self.path).trials[suggestion["trial"]]
            assert told.settings == suggestion["settings"]
            assert told.seed == suggestion["seed"]
        return ray_id, suggestion

    def report(self, ray_id: str, trial: int, epoch: int, error: float) -> None:
        result = {"trial": trial, "epoch": epoch, "val_mae": error, "pid": 7}
        self.searcher.on_trial_result(ray_id, result)

    def finish(self, ray_id: str, trial: int, error: float, epoch: int = 3) -> None:
        last = {"trial": trial, "ended": True, "status": "finished", "reason": None}
        last |= {"epoch": epoch, "best_epoch": 1, "seconds": 2.5, "val_mae": error}
        self.searcher.on_trial_result(ray_id, last)
        self.searcher.on_trial_complete(ray_id, last | {"done": True})

    def run(self, trials: int) -> list[Settings]:
        """Run so many trials one after the other, from suggestion to end."""
        points = []
        for _ in range(trials):
            ray_id, suggestion = self.suggest()
            points.append(suggestion["settings"])
            self.report(ray_id, suggestion["trial"], 1, error_of(suggestion["settings"]))
            self.finish(ray_id, suggestion["trial"], error_of(suggestion["settings"]))
        return points

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def error_of(settings: Settings) -> float:
    return (math.log10(settings["learning_rate"]) + 2.5) ** 2 + settings["alpha1"]


def test_first_points_come_first_and_in_order(tmp_path: Path) -> None:
    points = Session(tmp_path).run(8)
    assert len(POINTS) >= 2
    assert points[: len(POINTS)] == POINTS
    for point in points:
        assert point.keys() == SPACE.parameters.keys()
        assert all(SPACE.parameters[name].contains(value) for name, value in point.items())


def test_a_suggestion_says_all_that_a_worker_needs(tmp_path: Path) -> None:
    session = Session(tmp_path)
    _, suggestion = session.suggest()
    assert suggestion.keys() == {"sweep", "trial", "seed", "settings"}
    assert suggestion["sweep"] == "/sweeps/night"
    assert suggestion["trial"] == 0
    json.dumps(suggestion)


@pytest.mark.parametrize("at_once", [1, 3])
def test_never_more_at_once_than_allowed(tmp_path: Path, at_once: int) -> None:
    session = Session(tmp_path, at_once=at_once)
    live = [session.suggest() for _ in range(at_once)]
    assert all(isinstance(suggestion, dict) for _, suggestion in live)
    for _ in range(3):
        assert session.suggest()[1] is None
    assert len(read_ledger(session.path).trials) == at_once
    ray_id, suggestion = live[0]
    session.finish(ray_id, suggestion["trial"], 1.0)
    assert isinstance(session.suggest()[1], dict)
    assert session.suggest()[1] is None


def test_it_is_finished_after_its_trials_and_stays_so(tmp_path: Path) -> None:
    session = Session(tmp_path, at_once=2, trials=2)
    live = [session.suggest() for _ in range(2)]
    session.finish(live[0][0], 0, 1.0)
    assert session.suggest()[1] == Searcher.FINISHED
    session.finish(live[1][0], 1, 1.0)
    assert session.suggest()[1] == Searcher.FINISHED
    assert Session(tmp_path, trials=2).suggest()[1] == Searcher.FINISHED
    assert len(read_ledger(session.path).trials) == 2


def test_every_seed_is_its_own_and_the_same_in_every_sweep_with_that_seed(tmp_path: Path) -> None:
    sessions = {name: Session(tmp_path / name, seed=seed) for name, seed in [("a", 3), ("b", 3)]}
    sessions["c"] = Session(tmp_path / "c", seed=4)
    seeds = {}
    for name, session in sessions.items():
        session.run(4)
        seeds[name] = [trial.seed for trial in read_ledger(session.path).trials.values()]
        assert len(set(seeds[name])) == 4
    assert seeds["a"] == seeds["b"]
    assert not set(seeds["a"]) & set(seeds["c"])


@pytest.mark.parametrize("sampler", QUICK)
def test_the_same_seed_suggests_the_same(tmp_path: Path, sampler: str) -> None:
    first, again, other = (
        Session(tmp_path / name, sampler=sampler, trials=14, seed=seed).run(14)
        for name, seed in [("first", 3), ("again", 3), ("other", 4)]
    )
    assert first == again
    assert first[: len(POINTS)] == other[: len(POINTS)]
    assert all(point not in first for point in other[len(POINTS) :])


def test_an_epoch_is_noted_once_and_only_what_is_a_metric(tmp_path: Path) -> None:
    session = Session(tmp_path)
    ray_id, _ = session.suggest()
    result = {"trial": 0, "epoch": 1, "val_mae": 3.0, "train_loss": math.nan, "pid": 7, "done": 0}
    for _ in range(2):
        session.searcher.on_trial_result(ray_id, result)
    session.searcher.on_trial_result(ray_id, {"trial": 0, "epoch": 2, "val_mae": math.inf})
    session.searcher.on_trial_result(ray_id, {"time_this_iter_s": 1.0})
    assert read_ledger(session.path).trials[0].history == {1: {"val_mae": 3.0}}
    assert [event["event"] for event in session.events()] == ["suggested", "epoch"]


def test_a_finished_trial(tmp_path: Path) -> None:
    session = Session(tmp_path)
    ray_id, _ = session.suggest()
    session.report(ray_id, 0, 1, 2.0)
    session.finish(ray_id, 0, 2.0)
    status, reason, facts = session.recorded[0]
    assert (status, reason) == ("finished", None)
    assert facts["metrics"] == {"val_mae": 2.0}
    assert (facts["epoch"], facts["best_epoch"], facts["seconds"]) == (3, 1, 2.5)
    trial = read_ledger(session.path).trials[0]
    assert (trial.status, trial.metrics, trial.reason) == ("finished", {"val_mae": 2.0}, None)
    told = session.searcher.study.trials[0]
    assert (told.state, told.value) == (TrialState.COMPLETE, 2.0)


def test_a_pruned_trial_keeps_its_best_epoch(tmp_path: Path) -> None:
    session = Session(tmp_path)
    ray_id, _ = session.suggest()
    session.report(ray_id, 0, 1, 5.0)
    last = {"trial": 0, "epoch": 2, "val_mae": 6.0, "done": True}
    session.searcher.on_trial_complete(ray_id, last)  # the scheduler's word; the last result is new
    status, reason, facts = session.recorded[0]
    assert (status, reason) == ("pruned", None)
    assert facts == {"metrics": {"val_mae": 5.0}, "epoch": 2, "best_epoch": 1}
    assert set(read_ledger(session.path).trials[0].history) == {1, 2}
    assert session.searcher.study.trials[0].state is TrialState.PRUNED


def test_a_failed_trial_tells_its_reason(tmp_path: Path) -> None:
    session = Session(tmp_path)
    ray_id, _ = session.suggest()
    session.report(ray_id, 0, 1, 5.0)
    last = {"trial": 0, "ended": True, "status": "failed", "reason": "the loss must stay finite"}
    session.searcher.on_trial_result(ray_id, last)
    session.searcher.on_trial_complete(ray_id, last | {"done": True})
    status, reason, facts = session.recorded[0]
    assert (status, reason) == ("failed", "the loss must stay finite")
    assert facts["metrics"] == {"val_mae": 5.0}
    assert read_ledger(session.path).trials[0].reason == reason
    assert session.searcher.study.trials[0].state is TrialState.FAIL


@pytest.mark.parametrize("result", [None, {"trial": 0, "epoch": 1, "val_mae": 5.0}])
def test_a_lost_worker_is_no_pruned_trial(tmp_path: Path, result: dict[str, Any] | None) -> None:
    session = Session(tmp_path)
    ray_id, _ = session.suggest()
    session.report(ray_id, 0, 1, 5.0)
    session.searcher.on_trial_complete(ray_id, result, error=True)
    assert session.recorded[0][:2] == ("failed", LOST_WORKER)
    assert "worker process died" in LOST_WORKER
    assert session.searcher.study.trials[0].state is TrialState.FAIL
    assert isinstance(session.suggest()[1], dict)


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_an_objective_that_is_no_number_is_a_failure_with_that_reason(
    tmp_path: Path, error: float
) -> None:
    session = Session(tmp_path, objective="val_mape")
    ray_id, _ = session.suggest()
    last = {"trial": 0, "ended": True, "status": "finished", "epoch": 3, "val_mae": 1.0}
    session.searcher.on_trial_complete(ray_id, last | {"val_mape": error, "done": True})
    assert session.recorded[0][:2] == ("failed", "val_mape is not a number on these days")
    assert session.searcher.study.trials[0].state is TrialState.FAIL


def test_a_trial_that_said_nothing_at_all_is_recorded(tmp_path: Path) -> None:
    session = Session(tmp_path)
    ray_id, _ = session.suggest()
    session.searcher.on_trial_complete(ray_id, None, error=True)
    assert session.recorded[0][2] == {"metrics": {}, "epoch": 0, "best_epoch": 0}


def test_the_record_comes_before_the_event(tmp_path: Path) -> None:
    session = Session(tmp_path)
    ray_id, _ = session.suggest()

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    session.searcher.record = full_disk
    with pytest.raises(OSError, match="no space left"):
        session.finish(ray_id, 0, 1.0)
    assert read_ledger(session.path).trials[0].status == "running"


def test_what_ended_is_told_to_a_rebuilt_study(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.run(2)
    ray_id, _ = session.suggest()
    session.report(ray_id, 2, 1, 9.0)
    session.searcher.on_trial_complete(ray_id, {"trial": 2, "epoch": 1, "val_mae": 9.0})
    ray_id, _ = session.suggest()
    session.searcher.on_trial_complete(ray_id, None, error=True)
    told, rebuilt = session.searcher.study.trials, Session(tmp_path).searcher.study.trials
    assert [trial.state for trial in rebuilt] == [trial.state for trial in told]
    assert [trial.params for trial in rebuilt] == [trial.params for trial in told]
    assert [trial.values for trial in rebuilt[:2]] == [trial.values for trial in told[:2]]
    assert rebuilt[2].intermediate_values == told[2].intermediate_values == {1: 9.0}
    assert rebuilt[0].distributions == told[0].distributions


def test_unfinished_trials_come_first_with_the_same_settings_and_seed(tmp_path: Path) -> None:
    crashed = Session(tmp_path, at_once=3, trials=6)
    live = [crashed.suggest() for _ in range(3)]
    crashed.report(live[0][0], 0, 1, 4.0)
    crashed.report(live[2][0], 2, 1, 5.0)
    crashed.finish(live[1][0], 1, 3.0)

    resumed = Session(tmp_path, at_once=2, trials=6)
    again = [resumed.suggest() for _ in range(2)]
    assert [suggestion for _, suggestion in again] == [live[0][1], live[2][1]]
    assert len(resumed.events()) == len(crashed.events())  # nothing is suggested twice
    # The retried trial goes on from epoch 1, which Ray tells once more.
    resumed.report(again[0][0], 0, 1, 4.0)
    resumed.report(again[0][0], 0, 2, 3.5)
    resumed.finish(again[0][0], 0, 3.5)
    resumed.finish(again[1][0], 2, 5.0)
    resumed.run(3)
    state = read_ledger(resumed.path)
    assert state.num_ended == len(state.trials) == 6
    assert set(resumed.recorded) == {0, 2, 3, 4, 5}
    assert state.trials[0].history.keys() == {1, 2}
    suggested = [event["trial"] for event in resumed.events() if event["event"] == "suggested"]
    assert suggested == list(range(6))


@pytest.mark.parametrize("ended", [0, 1])
def test_first_points_that_were_not_used_still_come(tmp_path: Path, ended: int) -> None:
    crashed = Session(tmp_path)
    crashed.run(ended)
    crashed.suggest()
    points = Session(tmp_path).run(8 - ended)
    assert points[: len(POINTS) - ended] == POINTS[ended:]


@pytest.mark.parametrize("sampler", QUICK)
@pytest.mark.parametrize("stops", [[1], [4], [5, 6], [3, 4, 5, 6, 7, 8, 9]])
def test_a_resumed_sampler_draws_nothing_again(
    tmp_path: Path, sampler: str, stops: list[int]
) -> None:
    done = 0
    for stop in [*stops, 12]:
        Session(tmp_path, sampler=sampler, trials=12).run(stop - done)
        done = stop
    trials = read_ledger(tmp_path / "ledger.jsonl").trials.values()
    points = {json.dumps(trial.settings, sort_keys=True) for trial in trials}
    assert len(points) == len(trials) == 12


def test_kills_at_every_event_leave_every_trial_once(tmp_path: Path) -> None:
    """A driver that dies after each single event still runs each trial to exactly one end."""
    for _ in range(100):
        session = Session(tmp_path, at_once=2, trials=4)
        before = len(session.events()) if session.path.exists() else 0
        live: list[tuple[str, Any]] = []
        while len(session.events()) == before:
            ray_id, suggestion = session.suggest()
            if isinstance(suggestion, dict):
                live.append((ray_id, suggestion))
                continue
            if not live:
                break
            ray_id, suggestion = live.pop(0)
            number = suggestion["trial"]
            told = len(session.ledger.state.trials[number].history)
            if told < 2:
                session.report(ray_id, number, told + 1, 1.0 + number)
            else:
                session.finish(ray_id, number, 1.0 + number)
        else:
            continue  # killed
        break
    events = session.events()
    counts = {kind: [] for kind in ("suggested", "epoch", "ended")}
    for event in events:
        counts[event["event"]].append((event["trial"], event.get("epoch")))
    assert sorted(trial for trial, _ in counts["suggested"]) == [0, 1, 2, 3]
    assert sorted(trial for trial, _ in counts["ended"]) == [0, 1, 2, 3]
    assert sorted(counts["epoch"]) == [(trial, epoch) for trial in range(4) for epoch in (1, 2)]


def test_settings_held_at_one_value_survive_a_resume(tmp_path: Path) -> None:
    space = SPACE.with_fixed({"batch_size": "16", "learning_rate": "1e-3"})
    Session(tmp_path, space=space).run(4)
    points = Session(tmp_path, space=space).run(4)
    assert {(point["batch_size"], point["learning_rate"]) for point in points} == {(16, 1e-3)}


def test_rays_snapshots_hold_nothing(tmp_path: Path) -> None:
    session = Session(tmp_path)
    assert session.searcher.__getstate__() == {}
    session.searcher.save(str(tmp_path / "snapshot"))
    session.searcher.restore(str(tmp_path / "snapshot"))
    assert not (tmp_path / "snapshot").exists()


def run_out(session: Session, ray_id: str, trial: int) -> None:
    last = {"trial": trial, "ended": True, "status": OUT_OF_MEMORY, "reason": "out of GPU memory"}
    session.searcher.on_trial_result(ray_id, last)
    session.searcher.on_trial_complete(ray_id, last | {"done": True})


def test_a_trial_that_ran_out_of_memory_is_left_for_a_larger_share(tmp_path: Path) -> None:
    first = Session(tmp_path / "sweep", trials=2, gpus_per_trial=0.25)
    ray_id, asked = first.suggest()
    first.report(ray_id, 0, 1, 3.0)
    run_out(first, ray_id, 0)
    state = read_ledger(first.path)
    assert (state.trials[0].status, state.outgrown, first.recorded) == ("running", {0: 0.25}, {})
    assert state.fitting_share == 0.5
    other, second = first.suggest()
    assert second["trial"] == 1
    first.finish(other, 1, 2.0)
    assert first.suggest()[1] == Searcher.FINISHED
    first.ledger.close()
    again = Session(tmp_path / "sweep", trials=2, gpus_per_trial=0.5)
    ray_id, same = again.suggest()
    assert same == asked
    again.finish(ray_id, 0, 1.0)
    assert read_ledger(again.path).outgrown == {}
    assert again.recorded[0][0] == "finished"


@pytest.mark.parametrize("share", [1.0, 2.0, None])
def test_a_trial_that_had_a_whole_gpu_has_failed(tmp_path: Path, share: float | None) -> None:
    session = Session(tmp_path / "sweep", gpus_per_trial=share)
    ray_id, _ = session.suggest()
    run_out(session, ray_id, 0)
    assert session.recorded[0][:2] == ("failed", "out of GPU memory")


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "nsga2"])
def test_a_sampler_learns_from_told_trials_and_repeats_none(tmp_path: Path, sampler: str) -> None:
    """Nor after a resume, and none of them takes a number."""
    old = Session(tmp_path / "old", sampler="random", trials=20)
    old.run(20)
    told = KnownTrials(told=list(old.ledger.state.trials.values()))
    space = SearchSpace(SPACE.method, SPACE.parameters, ())
    new = Session(tmp_path / "new", space=space, known=told, sampler=sampler, trials=12)
    first = new.run(6)
    assert len(new.searcher.study.trials) >= 26
    ended = [one.params for one in new.searcher.study.trials[:20]]
    assert ended == [one.settings for one in told.told]
    new.ledger.close()
    again = Session(tmp_path / "new", space=space, known=told, sampler=sampler, trials=12)
    later = again.run(6)
    assert not any(point in ended for point in [*first, *later])
    assert len(again.ledger.state.trials) == 12, "told trials are no trials of this sweep"
