"""Log a sweep's trials to MLflow: one experiment per sweep, one run per trial, metrics by epoch.

    hpo sweep … --mlflow sqlite:///mlflow.db     (or http://HOST:PORT of a tracking server)

The runs are a view of the ledger, written by the driver alone. When a sweep resumes, what its runs
have already is looked up, so nothing is logged twice and nothing is left out. A server that does
not answer is reported to the user once and costs no trial.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from core.errors import ConfigError
from hpo.driver.observers import SweepObserver
from hpo.records.sweep_state import SweepState, Trial

if TYPE_CHECKING:
    from hpo.records.sweep_plan import SweepPlan

STATUSES = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
"""How a trial ended -> MLflow's status of its run; a tag keeps the original status."""
ENVIRONMENT = {
    # The driver waits for the server: attempts and seconds.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # Standard output is for answers.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""How MLflow is to behave, unless the user's environment says otherwise."""
_RUNS_AT_ONCE = 1000


@dataclass(frozen=True)
class _Run:
    """A run that is still being written."""

    run_id: str
    logged: set[tuple[str, int]]
    """Metric and step of what it has already."""


def load_mlflow() -> Any:
    """Return MLflow's package, with its environment set.

    Raises:
        ConfigError: the package mlflow is missing.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ConfigError(
            "--mlflow needs the package mlflow, which is not installed; install this project "
            "with its extra [mlflow], or leave the option out"
        ) from error
    return mlflow


class MlflowLogs(SweepObserver):
    """Logs every epoch and the end of every trial."""

    def __init__(self, uri: str, warn: Callable[[str], None]) -> None:
        """Log to the tracking store ``uri``; ``warn`` the user once if it stops answering.

        Raises:
            ConfigError: the package mlflow is missing, or cannot use ``uri``.
        """
        mlflow = load_mlflow()
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self._errors = (mlflow.MlflowException, OSError, SQLAlchemyError, ValueError)
        try:
            self._client: Any = mlflow.MlflowClient(tracking_uri=uri)
        except self._errors as error:
            raise ConfigError(
                f"--mlflow must be a tracking store such as sqlite:///mlflow.db or "
                f"http://HOST:PORT, got {uri!r}: {_line(error)}"
            ) from error
        self._uri, self._warn = uri, warn
        self._experiment: str | None = None
        self._runs: dict[int, _Run] = {}
        self._closed: set[int] = set()
        self._failed = False

    def on_change(self, plan: SweepPlan, state: SweepState) -> None:
        """Log what is new; nothing more after the store failed once."""
        if self._failed:
            return
        try:
            self._log_all(plan, state)
        except self._errors as error:
            self._failed = True
            self._warn(
                f"MLflow at {self._uri} does not take what is logged ({_line(error)}); the "
                f"sweep goes on without it, hpo resume {plan.config.name} --mlflow URI logs "
                "what is missing"
            )

    def _log_all(self, plan: SweepPlan, state: SweepState) -> None:
        if self._experiment is None:
            self._experiment = self._find_experiment(plan.config.name)
            self._find_runs(state)
        for trial in state.trials.values():
            if trial.number not in self._closed:
                self._log(plan, trial)

    def _find_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))

    def _find_runs(self, state: SweepState) -> None:
        """Look up which trials earlier drivers logged, and how much of each."""
        trials = {_key(trial): trial for trial in state.trials.values()}
        for run in self._earlier_runs():
            tags = run.data.tags
            trial = trials.get((tags.get("trial"), tags.get("begun")))
            if trial is None:  # another sweep of this name
                continue
            if run.info.status != "RUNNING":
                self._closed.add(trial.number)
                continue
            history = self._client.get_metric_history
            logged = {
                (name, entry.step)
                for name in run.data.metrics
                for entry in history(run.info.run_id, name)
            }
            self._open(trial, run.info.run_id, logged)

    def _earlier_runs(self) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], max_results=_RUNS_AT_ONCE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _log(self, plan: SweepPlan, trial: Trial) -> None:
        if trial.status == "infeasible":
            self._closed.add(trial.number)
            return
        run = self._runs.get(trial.number) or self._begin(plan, trial)
        for epoch, metrics in trial.history.items():
            self._send(run, metrics, epoch)
        if trial.status != "running":
            best = {f"best_{name}": value for name, value in trial.metrics.items()}
            self._send(run, {**best, **trial.sizes}, 0)
            self._client.set_tag(run.run_id, "status", trial.status)
            if trial.reason is not None:
                self._client.set_tag(run.run_id, "reason", trial.reason)
            self._client.set_terminated(run.run_id, STATUSES[trial.status])
            self._closed.add(trial.number)
            del self._runs[trial.number]

    def _begin(self, plan: SweepPlan, trial: Trial) -> _Run:
        config = plan.config
        number, begun = _key(trial)
        tags = {
            "sweep": config.name,
            "dataset": config.dataset,
            "method": config.method,
            "trial": number,
            "begun": begun,
        }
        created = self._client.create_run(
            self._experiment,
            start_time=int(datetime.fromisoformat(trial.suggested).timestamp() * 1000),
            tags=tags,
            run_name=f"{config.name} trial {trial.number}",
        )
        return self._open(trial, created.info.run_id, set())

    def _open(self, trial: Trial, run_id: str, logged: set[tuple[str, int]]) -> _Run:
        from mlflow.entities import Param  # noqa: PLC0415 - optional

        settings = {**trial.settings, "seed": trial.seed}
        # Also for a run that was resumed: its driver may have ended before it logged them.
        params = [Param(name, str(value)) for name, value in settings.items()]
        self._client.log_batch(run_id, params=params)
        run = self._runs[trial.number] = _Run(run_id, logged)
        return run

    def _send(self, run: _Run, metrics: dict[str, float], step: int) -> None:
        """Log those metrics of a step that the run lacks."""
        from mlflow.entities import Metric  # noqa: PLC0415 - optional

        stamp = int(time.time() * 1000)
        new = {name: value for name, value in metrics.items() if (name, step) not in run.logged}
        if new:
            entries = [Metric(name, value, stamp, step) for name, value in new.items()]
            self._client.log_batch(run.run_id, metrics=entries)
            run.logged.update((name, step) for name in new)


def _key(trial: Trial) -> tuple[str, str]:
    """Return the tags that distinguish a trial from those of another sweep of the same name."""
    return str(trial.number), trial.suggested


def _line(error: Exception) -> str:
    """Return the first sentence; MLflow's errors continue with pages of advice."""
    return " ".join(str(error).split()).split(". ")[0][:200]
