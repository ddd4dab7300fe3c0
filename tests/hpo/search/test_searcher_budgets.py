"""The searcher with several objectives, a budget of parameters, and samplers that repeat."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

import hpo.search.ledger_searcher
import hpo.trials.trial_settings
from core.errors import ConfigError
from core.preprocessing.prepare import PreparedData
from core.stgcn import STGCNConfig
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_state import Trial
from hpo.search.ledger_searcher import MAX_REPEATS, LedgerSearcher
from hpo.search.samplers import SAMPLERS
from hpo.space.search_space import SearchSpace, built_in_search_space
from hpo.sweep_config import SweepConfig
from hpo.trials.student_costs import StudentCosts
from hpo.trials.trial_settings import StudentSizes

pytestmark = pytest.mark.usefixtures("quiet_optuna")

WIDTHS = built_in_search_space("widths", "paper")
MOST = 400
"""Table 1's student has 960 here, so both first points are too large."""


class Session:
    """One life of a driver."""

    def __init__(
        self, folder: Path, data: PreparedData, space: SearchSpace = WIDTHS, **settings: Any
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "ledger.jsonl"
        self.ledger = Ledger(self.path)
        self.recorded: dict[int, tuple[str, str | None, dict[str, Any]]] = {}
        fields = {"trials": 6, "epochs": 3, "form": "paper", **settings}
        config = SweepConfig("night", space.method, "small", **fields)
        self.sizes = StudentSizes(config, data, None)
        self.timed: list[STGCNConfig] = []
        self.costs = StudentCosts(self.sizes, self.ledger, self.time)
        self.searcher = LedgerSearcher(
            config, space, self.ledger, "/sweeps/night", 1, self.record, self.costs
        )

    def time(self, shape: STGCNConfig) -> float:
        """Stand in for a clock: a millisecond per hundred parameters."""
        self.timed.append(shape)
        return shape.parameters / 100

    def record(self, trial: Trial, status: str, reason: str | None, facts: dict[str, Any]) -> None:
        assert read_ledger(self.path).trials[trial.number].status == "running"
        self.recorded[trial.number] = (status, reason, facts)

    def suggest(self, ray_id: str = "ray") -> Any:
        return self.searcher.suggest(ray_id)

    def finish(self, suggestion: dict[str, Any], error: float, ray_id: str = "ray") -> None:
        last = {"trial": suggestion["trial"], "ended": True, "status": "finished", "reason": None}
        last |= {"epoch": 3, "best_epoch": 1, "seconds": 1.0, "val_mae": error}
        last |= self.sizes.of(suggestion["settings"])
        self.searcher.on_trial_result(ray_id, {**last, "done": False})
        self.searcher.on_trial_complete(ray_id, {**last, "done": True})

    def run(self, trials: int) -> list[dict[str, Any]]:
        """Run so many feasible trials to their ends."""
        points = []
        for _ in range(trials):
            suggestion = self.suggest()
            points.append(suggestion["settings"])
            self.searcher.on_trial_result(
                "ray", {"trial": suggestion["trial"], "epoch": 1, "val_mae": 9.0}
            )
            self.finish(suggestion, 1.0 + suggestion["settings"]["alpha1"])
        return points


def test_what_is_too_large_is_recorded_told_and_never_handed_out(
    tmp_path: Path, prepared: PreparedData
) -> None:
    session = Session(tmp_path, prepared, max_parameters=MOST)
    points = session.run(6)
    assert all(session.sizes.of(point)["parameters"] <= MOST for point in points)
    assert session.suggest() == Searcher.FINISHED
    state = read_ledger(session.path)
    infeasible = state.with_status("infeasible")
    assert [trial.number for trial in infeasible[:2]] == [0, 1]
    assert [trial.settings for trial in infeasible[:2]] == WIDTHS.points()
    assert state.num_ended == state.num_begun == 6
    for trial in infeasible:
        size = session.sizes.of(trial.settings)
        assert trial.sizes == size
        assert trial.reason == f"{size['parameters']} parameters exceed --max-parameters 400"
        assert session.recorded[trial.number][:2] == ("infeasible", trial.reason)
        told = session.searcher.study.trials[trial.number]
        assert (told.state, told.value) == (TrialState.COMPLETE, math.inf)
        assert told.constraints == {"parameters": size["parameters"] - MOST}
    for trial in state.with_status("finished"):
        told = session.searcher.study.trials[trial.number]
        assert told.constraints == {"parameters": trial.sizes["parameters"] - MOST}
        assert told.constraints["parameters"] <= 0


def test_constraints_are_rebuilt_from_the_ledger(tmp_path: Path, prepared: PreparedData) -> None:
    session = Session(tmp_path, prepared, max_parameters=MOST)
    session.run(4)
    told = session.searcher.study.trials
    rebuilt = Session(tmp_path, prepared, max_parameters=MOST).searcher.study.trials
    for attribute in ("state", "params", "values", "constraints", "distributions"):
        assert [getattr(one, attribute) for one in rebuilt] == [
            getattr(one, attribute) for one in told
        ]
    assert any(one.constraints["parameters"] > 0 for one in rebuilt)


def test_a_crash_between_suggesting_and_refusing_is_mended(
    tmp_path: Path, prepared: PreparedData
) -> None:
    session = Session(tmp_path, prepared, max_parameters=MOST)
    session.ledger.append("suggested", trial=0, settings=WIDTHS.points()[0], seed=3)
    again = Session(tmp_path, prepared, max_parameters=MOST)
    suggestion = again.suggest()
    state = read_ledger(again.path)
    assert state.trials[0].status == "infeasible"
    assert suggestion["trial"] == len(state.trials) - 1 > 0
    assert again.sizes.of(suggestion["settings"])["parameters"] <= MOST


def test_a_search_that_finds_nothing_small_enough_gives_up_in_one_line(
    tmp_path: Path, prepared: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hpo.search.ledger_searcher, "MAX_INFEASIBLE", 5)
    session = Session(tmp_path, prepared, max_parameters=1)
    with pytest.raises(ConfigError, match=r"at most 1 parameters .* 5 in a row were larger; raise"):
        session.suggest()
    assert len(read_ledger(session.path).with_status("infeasible")) == 5


@pytest.mark.parametrize("name", [name for name, one in SAMPLERS.items() if one.constraints])
def test_the_sampler_learns_what_fits(
    name: str, tmp_path: Path, prepared: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hpo.trials.trial_settings, "shape_flops", lambda shape: shape.parameters)
    session = Session(tmp_path, prepared, max_parameters=MOST, sampler=name, trials=25)
    session.run(25)
    statuses = [trial.status for trial in read_ledger(session.path).trials.values()]
    random = Session(tmp_path / "r", prepared, max_parameters=MOST, sampler="random", trials=25)
    random.run(25)
    drawn = [trial.status for trial in read_ledger(random.path).trials.values()]
    assert statuses.count("infeasible") < drawn.count("infeasible")


@pytest.mark.parametrize("name", [name for name, one in SAMPLERS.items() if one.several_objectives])
def test_several_objectives_are_told_and_rebuilt(
    name: str, tmp_path: Path, prepared: PreparedData
) -> None:
    objectives = {"objective": "val_mae,parameters", "sampler": name, "trials": 5}
    session = Session(tmp_path, prepared, **objectives)
    session.run(3)
    pruned = session.suggest()
    session.searcher.on_trial_complete("ray", {"trial": 3, "epoch": 1, "val_mae": 9.0})
    assert pruned["trial"] == 3
    told = session.searcher.study.trials
    trials = read_ledger(session.path).trials
    assert [one.values for one in told[:3]] == [
        [trials[number].metrics["val_mae"], trials[number].sizes["parameters"]]
        for number in range(3)
    ]
    again = Session(tmp_path, prepared, **objectives)
    rebuilt = again.searcher.study
    assert len(rebuilt.directions) == 2
    assert [one.values for one in rebuilt.trials] == [one.values for one in told]
    assert [one.state for one in rebuilt.trials] == [one.state for one in told]
    again.run(1)


def test_a_size_that_a_worker_leaves_out_is_known_all_the_same(
    tmp_path: Path, prepared: PreparedData
) -> None:
    session = Session(tmp_path, prepared, objective="val_mae,flops")
    settings = session.suggest()["settings"]
    last = {"trial": 0, "ended": True, "status": "finished", "epoch": 3, "val_mae": 1.0}
    session.searcher.on_trial_complete("ray", last | {"done": True})
    assert read_ledger(session.path).trials[0].sizes == session.sizes.of(settings)


def test_latency_is_a_constraint_beside_parameters(tmp_path: Path, prepared: PreparedData) -> None:
    limits = {"max_parameters": 2 * MOST, "max_latency_ms": MOST / 100}
    session = Session(tmp_path, prepared, **limits)
    session.run(6)
    state = read_ledger(session.path)
    assert state.num_ended == 6
    first, *_ = state.with_status("infeasible")
    assert first.reason == "960 parameters exceed --max-parameters 800; 9.6 ms exceed " + (
        "--max-latency-ms 4.0"
    )
    assert session.recorded[0][2]["latency_ms"] == first.sizes["latency_ms"] == 9.6
    for trial in state.trials.values():
        size = trial.sizes["parameters"]
        assert (trial.status == "finished") == (size <= MOST)
        told = session.searcher.study.trials[trial.number]
        excess = {"parameters": size - 2 * MOST, "latency_ms": (size - MOST) / 100}
        assert told.constraints == pytest.approx(excess)
    between = [one for one in state.trials.values() if MOST < one.sizes["parameters"] <= 2 * MOST]
    assert all(one.reason.count("exceed") == 1 for one in between)
    rebuilt = Session(tmp_path, prepared, **limits).searcher.study.trials
    assert [one.constraints for one in rebuilt] == [
        one.constraints for one in session.searcher.study.trials
    ]


def test_a_shape_is_timed_once_also_over_a_resume(tmp_path: Path, prepared: PreparedData) -> None:
    objective = {"objective": "val_mae,parameters,latency_ms", "trials": 8, "sampler": "random"}
    space = WIDTHS.with_fixed({name: "2" for name in WIDTHS.parameters if name.startswith("block")})
    first = Session(tmp_path, prepared, space, **objective)
    first.run(4)
    again = Session(tmp_path, prepared, space, **objective)
    again.time = lambda shape: 99.0  # type: ignore[method-assign]
    again.run(4)
    state = read_ledger(first.path)
    assert len(first.timed) == len(set(first.timed)) == len(state.latencies)
    assert not again.timed
    for trial in state.trials.values():
        size = trial.sizes["parameters"]
        assert trial.values(("latency_ms", "parameters")) == [size / 100, size]
    told = [one.values for one in again.searcher.study.trials]
    assert told == [
        trial.values(("val_mae", "parameters", "latency_ms")) for trial in state.trials.values()
    ]


def test_what_was_timed_for_the_plan_is_kept(tmp_path: Path, prepared: PreparedData) -> None:
    session = Session(tmp_path, prepared, objective="val_mae,latency_ms")
    shape = session.sizes.shape(WIDTHS.points()[0])
    session.costs.note_latency(shape, 7.5)
    session.costs.note_latency(shape, 8.5)
    assert session.costs.of(WIDTHS.points()[0])["latency_ms"] == 7.5
    assert not session.timed
    (event,) = [json.loads(line) for line in session.path.read_text().splitlines()]
    assert event["machine"]


FEW = SearchSpace.from_json(
    {
        "method": "none",
        "parameters": {
            "batch_size": {"type": "categorical", "choices": [16, 25, 32]},
            "optimizer": {"type": "categorical", "choices": ["adam", "rmsprop"]},
        },
        "first_points": [],
    }
)


@pytest.mark.parametrize("sampler", sorted(SAMPLERS.keys() - {"gp"}))
def test_no_configuration_runs_twice_while_there_are_others(
    sampler: str, tmp_path: Path, prepared: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hpo.search.ledger_searcher, "MAX_REPEATS", 200)
    session = Session(tmp_path, prepared, FEW, sampler=sampler, trials=6)
    said = []
    for _ in range(6):
        suggestion = session.suggest()
        said.append(json.dumps(suggestion["settings"], sort_keys=True))
        session.finish(suggestion, 1.0)
    assert len(set(said)) == 6


def test_a_space_of_one_point_is_run_with_other_seeds(
    tmp_path: Path, prepared: PreparedData
) -> None:
    space = FEW.with_fixed({"batch_size": "16", "optimizer": "adam"})
    session = Session(tmp_path, prepared, space, trials=3)
    suggestions = []
    for _ in range(3):
        suggestions.append(session.suggest())
        session.finish(suggestions[-1], 1.0)
    assert all(one["settings"] == suggestions[0]["settings"] for one in suggestions)
    assert len({one["seed"] for one in suggestions}) == 3
    assert len(session.searcher.study.trials) == 3 + 2 * MAX_REPEATS
