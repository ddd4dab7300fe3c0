"""Ray and Ray Tune around the trials: the one place that starts a cluster or a ``Tuner``.

A plan, an open ledger and a recorder in; when this returns, every trial that could run has ended,
or the user interrupted. Ray's own snapshots go to a temporary folder and are thrown away.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from hpo.driver.ray_cluster import cluster, trial_resources
from hpo.driver.recorder import Recorder
from hpo.internals.ray_trials import drop_metric_history, reset_failure_count
from hpo.planning.space_fitting import largest_shape
from hpo.records.kept_students import StudentKeeper
from hpo.records.ledger import Ledger, read_events
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.search.fixed_runs import PlannedRun, PlannedRunSearcher
from hpo.search.ledger_searcher import LedgerSearcher
from hpo.search.replaying_scheduler import RememberingScheduler
from hpo.search.schedulers import make_scheduler
from hpo.search.stopping_searcher import StoppingSearcher
from hpo.space.objectives import LATENCY
from hpo.sweep_config import AUTO, SweepConfig
from hpo.trials.gpu_share import find_share
from hpo.trials.ray_trainable import run_trial
from hpo.trials.student_costs import StudentCosts
from hpo.trials.trial_settings import StudentSizes

WORKER_DEATHS = 2
"""How often a trial whose worker process died is tried again, from its checkpoint, without getting
on: where machines are taken away all night, a long trial may lose more than that in all."""


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


def tune_trials(
    folder: SweepFolder,
    plan: SweepPlan,
    ledger: Ledger,
    recorder: Recorder,
    address: str,
    runs: Sequence[PlannedRun] | None = None,
    deadline: float = math.inf,
) -> None:
    """Run the trials that the ledger does not know as ended; those of ``runs`` if given.

    At the ``deadline`` (of ``time.monotonic``) Ray stops the trials that run without a word to
    the searcher, so the ledger keeps them as unfinished.

    Raises:
        UserError: the search cannot go on; nothing that ended is lost.
        OSError: the ledger or a record could not be written.
    """
    config = plan.config
    with cluster(address) as available, tempfile.TemporaryDirectory() as scratch:
        if config.gpus_per_trial == AUTO:
            share = find_share(folder, plan, ledger, available)
            config = replace(config, gpus_per_trial=share)
        per_trial, concurrent = trial_resources(config, available, address)
        asked = (config, plan.space, ledger, folder.address, concurrent, recorder.write)
        keeper = StudentKeeper(folder, config)
        searcher = StoppingSearcher(
            LedgerSearcher(*asked, _costs(plan, recorder.sizes, ledger))
            if runs is None
            else PlannedRunSearcher(*asked, runs),
            lambda: keeper.tidy(ledger.state),
        )
        tuner = tune.Tuner(
            tune.with_resources(run_trial, per_trial),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=_scheduler(folder, config, ledger),
                num_samples=-1,
                reuse_actors=True,
                time_budget_s=_seconds_until(deadline),
            ),
            run_config=tune.RunConfig(
                name=folder.name,
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


def _scheduler(folder: SweepFolder, config: SweepConfig, ledger: Ledger) -> TrialScheduler:
    name, metric, epochs = config.scheduler, config.metric, config.epochs
    asked = make_scheduler(name, metric=metric, mode="min", epochs=epochs)
    untrained = {trial.number for trial in ledger.state.with_status("infeasible")}
    return RememberingScheduler(asked, read_events(folder.ledger_file), untrained)


def _costs(plan: SweepPlan, sizes: StudentSizes, ledger: Ledger) -> StudentCosts:
    costs = StudentCosts(sizes, ledger)
    if LATENCY in plan.reference:
        costs.note_latency(largest_shape(plan.space, sizes), plan.reference[LATENCY])
    return costs


def _seconds_until(deadline: float) -> float | None:
    return None if math.isinf(deadline) else max(1.0, deadline - time.monotonic())
