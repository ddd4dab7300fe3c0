"""Run the trials of one sweep or of several with Ray Tune: the one place that builds a ``Tuner``.

Returns when every trial that could run has ended, or the user interrupted. Ray's own snapshots go
to a temporary folder and are deleted: the ledger is what a sweep resumes from.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from hpo.driver.ray_cluster import cluster, trial_resources
from hpo.driver.recorder import Recorder
from hpo.driver.sweep_run import SweepRun
from hpo.internals.ray_trials import drop_metric_history, reset_failure_count
from hpo.planning.space_fitting import largest_shape
from hpo.records.kept_students import StudentKeeper
from hpo.records.ledger import Ledger, read_events, read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.search.fixed_runs import FixedRunSearcher
from hpo.search.ledger_searcher import KnownTrials, LedgerSearcher
from hpo.search.replaying_scheduler import ReplayingScheduler
from hpo.search.schedulers import make_scheduler
from hpo.search.several_sweeps import SeveralSchedulers, SeveralSearchers
from hpo.search.stopping_searcher import StoppingSearcher
from hpo.space.objectives import LATENCY
from hpo.sweep_config import AUTO, SweepConfig
from hpo.trials.gpu_share import find_share
from hpo.trials.ray_trainable import run_trial
from hpo.trials.student_costs import StudentCosts

WORKER_DEATHS = 2
"""How often a trial whose worker process died is restarted from its checkpoint without completing
another epoch in between: on preemptible machines a long trial may lose more workers in all."""


class _Housekeeping(tune.Callback):  # type: ignore[misc]
    """Resets a trial's count of lost workers at every new epoch; frees its metrics at its end."""

    def __init__(self) -> None:
        self.epochs: dict[str, int] = {}
        """Ray's trial id -> last epoch of a running trial."""

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        epoch = int(result.get("epoch", 0))
        # A restarted worker reports old epochs again.
        if epoch > self.epochs.get(trial.trial_id, 0):
            self.epochs[trial.trial_id] = epoch
            reset_failure_count(trial)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        self.epochs.pop(trial.trial_id, None)
        drop_metric_history(trial)


def tune_trials(sweeps: Sequence[tuple[SweepRun, Ledger]]) -> None:
    """Run the trials of sweeps that have not ended according to their open ledgers.

    All sweeps take turns on the same workers, so they must ask for the same resources. At the
    deadline Ray stops the running trials without notifying the searchers, so the ledgers keep them
    as unfinished.

    Raises:
        UserError: the search cannot go on; nothing that ended is lost.
        OSError: a ledger or a record could not be written.
    """
    first = sweeps[0][0]
    with cluster(first.address) as available, tempfile.TemporaryDirectory() as scratch:
        shared = _with_one_share([_with_share(run, ledger, available) for run, ledger in sweeps])
        per_trial, concurrent = trial_resources(shared[0], available, first.address)
        searchers = [
            _searcher(run, config, ledger, concurrent)
            for (run, ledger), config in zip(sweeps, shared, strict=True)
        ]
        searcher = StoppingSearcher(SeveralSearchers(searchers, concurrent), _tidying(sweeps))
        schedulers = {
            run.folder.address: _scheduler(run.folder, run.plan.config, ledger)
            for run, ledger in sweeps
        }
        tuner = tune.Tuner(
            tune.with_resources(run_trial, per_trial),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=SeveralSchedulers(schedulers),
                num_samples=-1,
                reuse_actors=True,
                time_budget_s=_seconds_until(first.deadline),
            ),
            run_config=tune.RunConfig(
                name=first.folder.name,
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=WORKER_DEATHS),
                callbacks=[_Housekeeping()],
            ),
        )
        try:
            tuner.fit()
        except Exception:
            if searcher.failure is not None:
                raise searcher.failure from None
            raise


def _with_share(run: SweepRun, ledger: Ledger, available: dict[str, float]) -> SweepConfig:
    """Return the settings of a sweep with the share of a GPU that its trials need."""
    config, least = run.plan.config, ledger.state.fitting_share
    if config.gpus_per_trial != AUTO:
        given = config.gpus_per_trial
        return config if given is None else replace(config, gpus_per_trial=max(given, least))
    return replace(config, gpus_per_trial=find_share(run.folder, run.plan, ledger, available))


def _with_one_share(configs: Sequence[SweepConfig]) -> list[SweepConfig]:
    """Give all sweeps the largest share: their trials take turns on the same workers."""
    shares = [float(one.gpus_per_trial) for one in configs if one.gpus_per_trial is not None]
    if not shares:
        return list(configs)
    return [replace(one, gpus_per_trial=max(shares)) for one in configs]


def _searcher(
    run: SweepRun, config: SweepConfig, ledger: Ledger, concurrent: int
) -> LedgerSearcher:
    record = Recorder(run).write
    asked = (config, run.plan.space, ledger, run.folder.address, concurrent, record)
    if run.runs is None:
        runs = read_ledger(run.folder.confirmation.ledger_file).trials.values()
        known = KnownTrials(list(runs), [one.trial() for one in run.plan.told])
        return LedgerSearcher(*asked, student_costs(run, ledger), known)
    return FixedRunSearcher(*asked, run.runs)


def _tidying(sweeps: Sequence[tuple[SweepRun, Ledger]]) -> Callable[[], None]:
    """Return a function that deletes the students which the sweeps need not keep."""
    keepers = [(StudentKeeper(run.folder, run.plan.config), ledger) for run, ledger in sweeps]

    def tidy() -> None:
        for keeper, ledger in keepers:
            keeper.tidy(ledger.state)

    return tidy


def _scheduler(folder: SweepFolder, config: SweepConfig, ledger: Ledger) -> TrialScheduler:
    name, metric, epochs = config.scheduler, config.metric, config.epochs
    asked = make_scheduler(name, metric=metric, mode="min", epochs=epochs)
    untrained = {trial.number for trial in ledger.state.with_status("infeasible")}
    return ReplayingScheduler(asked, read_events(folder.ledger_file), untrained)


def student_costs(run: SweepRun, ledger: Ledger) -> StudentCosts:
    """Return the costs of a search's students; a latency that the plan holds is not timed again."""
    costs = StudentCosts(run.sizes, ledger, run.latency_of)
    reference = run.plan.reference
    if LATENCY in reference:
        costs.note_latency(largest_shape(run.plan.space, run.sizes), reference[LATENCY])
    return costs


def _seconds_until(deadline: float) -> float | None:
    return None if math.isinf(deadline) else max(1.0, deadline - time.monotonic())
