"""What MLflow is told of a sweep."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from core.errors import ConfigError
from hpo.cli.main import run
from hpo.outcomes.mlflow_logs import ENVIRONMENT, MlflowLogs
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_state import SweepState
from tests.small_sweeps import SETTINGS, make_sweep_under_way


class MlflowError(Exception):
    """Stands in for ``MlflowException``."""


class Store:
    """What a tracking store holds, and how often it is still able to answer."""

    def __init__(self) -> None:
        self.runs: list[SimpleNamespace] = []
        self.answers = 10_000
        self.calls: Counter[str] = Counter()

    def client(self, tracking_uri: str) -> Client:
        if tracking_uri == "nowhere://":
            raise MlflowError("no such\nstore")
        return Client(self)


class Client:
    """Stands in for ``MlflowClient``: what it is called with here, no more."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def _answer(self, name: str) -> None:
        self.store.calls[name] += 1
        self.store.answers -= 1
        if self.store.answers < 0:
            raise MlflowError("connection\nrefused")

    def get_experiment_by_name(self, name: str) -> Any:
        self._answer("get_experiment")
        return SimpleNamespace(experiment_id=7) if self.store.calls["create_experiment"] else None

    def create_experiment(self, name: str) -> int:
        self._answer("create_experiment")
        assert name == "first"
        return 7

    def create_run(
        self, experiment: str, start_time: int, tags: dict[str, str], run_name: str
    ) -> Any:
        self._answer("create_run")
        assert experiment == "7"
        run = SimpleNamespace(
            info=SimpleNamespace(run_id=f"run{len(self.store.runs)}", status="RUNNING"),
            data=SimpleNamespace(tags=dict(tags), params={}, metrics={}),
            points=[],
        )
        self.store.runs.append(run)
        return run

    def search_runs(self, _: Any, max_results: int, page_token: str | None) -> Any:
        self._answer("search_runs")
        begin = int(page_token or 0)
        page = Page(self.store.runs[begin : begin + 2])
        page.token = str(begin + 2) if begin + 2 < len(self.store.runs) else None
        return page

    def get_metric_history(self, run_id: str, name: str) -> list[Any]:
        return [point for point in self._run(run_id).points if point.key == name]

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        self._answer("log_batch")
        run = self._run(run_id)
        run.points += metrics
        run.data.metrics |= {metric.key: metric.value for metric in metrics}
        run.data.params |= {param.key: param.value for param in params}

    def set_tag(self, run_id: str, name: str, value: str) -> None:
        self._run(run_id).data.tags[name] = value

    def set_terminated(self, run_id: str, status: str) -> None:
        self._answer("set_terminated")
        self._run(run_id).info.status = status

    def _run(self, run_id: str) -> Any:
        return next(run for run in self.store.runs if run.info.run_id == run_id)


class Page(list[Any]):
    token: str | None


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    for name in ENVIRONMENT:  # set while a test runs, and what it was afterwards
        monkeypatch.setenv(name, "of the user's")
    store, mlflow, entities = Store(), ModuleType("mlflow"), ModuleType("mlflow.entities")
    mlflow.MlflowException, mlflow.MlflowClient = MlflowError, store.client  # type: ignore[attr-defined]
    entities.Metric = lambda key, value, stamp, step: SimpleNamespace(  # type: ignore[attr-defined]
        key=key, value=value, timestamp=stamp, step=step
    )
    entities.Param = lambda key, value: SimpleNamespace(key=key, value=value)  # type: ignore[attr-defined]
    mlflow.entities = entities  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return store


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    return make_sweep_under_way(tmp_path / "runs")


def log(sweep: SweepFolder, told: list[str] | None = None) -> MlflowLogs:
    said: list[str] = [] if told is None else told
    return MlflowLogs("sqlite://", said.append)


def points(run: Any) -> list[tuple[str, float, int]]:
    return [(point.key, point.value, point.step) for point in run.points]


def test_a_run_per_trial_says_all_that_the_ledger_says(sweep: SweepFolder, store: Store) -> None:
    logs, state, plan = log(sweep), read_ledger(sweep.ledger_file), sweep.read_plan()
    logs.on_change(plan, state)
    logs.on_change(plan, state)
    assert [run.info.status for run in store.runs] == ["FINISHED", "KILLED", "FAILED", "RUNNING"]
    first, _, failed, running = store.runs
    assert first.data.params == {**{k: str(v) for k, v in SETTINGS.items()}, "seed": "70"}
    wanted = {"sweep": "first", "dataset": "small", "method": "none", "status": "finished"}
    assert first.data.tags.items() >= wanted.items()
    assert failed.data.tags["reason"] == "too hot"
    epochs = [("val_mae", 3.0), ("val_mae", 2.0), ("val_mae", 2.5)]
    assert [(key, value) for key, value, _ in points(first) if key == "val_mae"] == epochs
    assert ("best_val_mae", 2.0, 0) in points(first)
    assert points(running) == [("val_mae", 5.0, 1), ("train_loss", 2.5, 1)]


def test_a_sweep_that_goes_on_doubles_nothing(sweep: SweepFolder, store: Store) -> None:
    plan = sweep.read_plan()
    log(sweep).on_change(plan, read_ledger(sweep.ledger_file))
    ledger = Ledger(sweep.ledger_file)
    ledger.append("epoch", trial=3, epoch=2, metrics={"val_mae": 4.5})
    ended = {"status": "finished", "metrics": {"val_mae": 4.5}, "reason": None}
    ledger.append("ended", trial=3, **ended, sizes={"parameters": 1780})
    ledger.close()
    before = [points(run) for run in store.runs]
    log(sweep).on_change(plan, ledger.state)
    assert len(store.runs) == 4
    assert [points(run) for run in store.runs[:3]] == before[:3]
    added = [("val_mae", 4.5, 2), ("best_val_mae", 4.5, 0), ("parameters", 1780, 0)]
    assert points(store.runs[3]) == before[3] + added
    assert store.runs[3].info.status == "FINISHED"


def test_another_sweep_of_the_same_name_has_runs_of_its_own(
    sweep: SweepFolder, store: Store
) -> None:
    plan, state = sweep.read_plan(), read_ledger(sweep.ledger_file)
    log(sweep).on_change(plan, state)
    for trial in state.trials.values():
        trial.suggested = "2001-01-01T00:00:00+00:00"
    log(sweep).on_change(plan, state)
    assert len(store.runs) == 8


@pytest.mark.parametrize("answers", range(12))
def test_a_store_that_stops_answering_is_told_of_once_and_made_up_for(
    sweep: SweepFolder, store: Store, answers: int
) -> None:
    """Wherever it stops, the next driver adds what is missing and nothing twice."""
    plan, state = sweep.read_plan(), read_ledger(sweep.ledger_file)
    store.answers, told = answers, list[str]()
    logs = log(sweep, told)
    logs.on_change(plan, state)
    logs.on_change(plan, state)
    (line,) = told
    assert "does not take what is logged (connection refused); the sweep goes on" in line
    assert "hpo resume first --mlflow URI" in line
    store.answers = 10_000
    log(sweep).on_change(plan, state)
    assert [run.data.tags["trial"] for run in store.runs] == ["0", "1", "2", "3"]
    assert [run.data.params["seed"] for run in store.runs] == ["70", "71", "72", "73"]
    for one in store.runs:
        assert len(points(one)) == len(set(points(one)))
    assert [run.info.status for run in store.runs] == ["FINISHED", "KILLED", "FAILED", "RUNNING"]
    assert len(points(store.runs[0])) == 7


def test_mlflow_keeps_quiet_unless_the_user_says_otherwise(
    sweep: SweepFolder, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT")
    log(sweep)
    assert os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] == "true"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "of the user's"


def test_an_empty_state_makes_no_run(sweep: SweepFolder, store: Store) -> None:
    log(sweep).on_change(sweep.read_plan(), SweepState())
    assert store.runs == []


def test_a_store_that_cannot_be_gives_one_line_before_anything_runs(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [
        "--dataset",
        "synthetic",
        "--mlflow",
        "nowhere://",
        "--storage",
        str(tmp_path / "runs"),
    ]
    assert run(["sweep", "none", *given, "--data", str(tmp_path / "data")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hpo: --mlflow must be a tracking store such as sqlite:///mlflow.db or")
    assert line.endswith("got 'nowhere://': no such store")
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("store")
def test_without_mlflow_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"needs the package mlflow, .*\[mlflow\]"):
        MlflowLogs("sqlite://", lambda _: None)
