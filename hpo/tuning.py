"""Ray and Ray Tune around the trials: the one place that starts a cluster or a ``Tuner``.

A plan, an open ledger and a recorder in; when this returns, every trial that could run has ended,
or the user interrupted. Ray's own snapshots go to a temporary folder and are thrown away.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

# For Ray, before it is imported: no output of its own, no log files per trial, no telemetry; a
# trial that fails reports why instead of the objective, which must not end the whole sweep; and
# all workers are started at once, where by default the next waits until the last is there.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "10000")  # searchers know how many may run
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from core.errors import ConfigError
from hpo.costs import StudentCosts
from hpo.gpu_share import find_share
from hpo.kept_students import StudentKeeper
from hpo.ledger import Ledger, read_events
from hpo.objectives import LATENCY
from hpo.planned_runs import PlannedRun, PlannedRunSearcher
from hpo.recording import Recorder
from hpo.remembering_scheduler import RememberingScheduler
from hpo.schedulers import make_scheduler
from hpo.searcher import LedgerSearcher
from hpo.space_fitting import largest_shape
from hpo.stopping_searcher import StoppingSearcher
from hpo.sweep_config import AUTO, SweepConfig
from hpo.sweep_store import SweepFolder, SweepPlan
from hpo.trainables import run_trial
from hpo.trial_settings import StudentSizes

WORKER_DEATHS = 2
"""How often a trial whose worker process died is tried again, from its checkpoint, without getting
on: where machines are taken away all night, a long trial may lose more than that in all."""


class _Housekeeping(tune.Callback):  # type: ignore[misc]
    """Counts deaths of workers anew whenever a trial gets on; forgets what Ray keeps of its end."""

    def __init__(self) -> None:
        self.epochs: dict[str, int] = {}
        """How far running trials got, by Ray's names."""

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        epoch = int(result.get("epoch", 0))
        # A worker that goes on tells old epochs again.
        if epoch > self.epochs.get(trial.trial_id, 0):
            self.epochs[trial.trial_id] = epoch
            trial.run_metadata.num_failures = 0

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        self.epochs.pop(trial.trial_id, None)
        # Means and queues of every metric, most of what the driver would keep of a trial.
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()


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


@contextmanager
def cluster(address: str) -> Iterator[dict[str, float]]:
    """Connect to Ray, or start it on this machine, and yield what it has; end what was started."""
    ours = not ray.is_initialized()
    if ours:
        try:
            _check_reachable(address)
            ray.init(
                address=address, log_to_driver=False, include_dashboard=False, **_quiet(address)
            )
        # ValueError: what Ray cannot read as an address.
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"--address must be that of a running Ray cluster, got {address!r}: {reason}; "
                "`local` starts one on this machine"
            ) from error
    try:
        with termination_as_interrupt():
            yield ray.cluster_resources()
    finally:
        if ours:
            ray.shutdown()


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, as a spot notice or a stopped job sends it, end a sweep as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what a signal does
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    # What a shell starts in the background ignores Ctrl-C, except while Ray Tune listens to it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _check_reachable(address: str) -> None:
    """Raise ``OSError`` where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, min(int(port), 65535)), timeout=10).close()


def _quiet(address: str) -> dict[str, Any]:
    return {"logging_level": "ERROR"} if address == "local" else {"logging_level": "WARNING"}


def trial_resources(
    config: SweepConfig, available: dict[str, float], address: str = "local"
) -> tuple[dict[str, float], int]:
    """Return what each trial takes and how many run at once.

    A cluster may grow for trials that wait for room, so there as many as the user wants.

    Args:
        config: the sweep's settings.
        available: what there is now, by Ray's names of resources.
        address: of the cluster.

    Raises:
        ConfigError: the cluster has no room for a single trial.
    """
    gpus_there = available.get("GPU", 0.0)
    gpus = config.gpus_per_trial
    if gpus is None or gpus == AUTO:  # what is measured later is at most one
        gpus = 1.0 if gpus_there else 0.0
    per_trial = {"cpu": float(config.cpus_per_trial), "gpu": gpus}
    if per_trial["cpu"] > available.get("CPU", 0.0) or gpus > gpus_there:
        raise ConfigError(
            f"a trial needs {config.cpus_per_trial} CPUs and {gpus:g} GPUs, but the cluster has "
            f"{available.get('CPU', 0.0):g} and {gpus_there:g}; lower --cpus-per-trial or "
            "--gpus-per-trial"
        )
    if config.cuda_graphs and not gpus:
        raise ConfigError(
            "--cuda-graphs needs trials that have a GPU, but these have none; leave it out, or "
            "give them one with --gpus-per-trial"
        )
    room = int(available["CPU"] // per_trial["cpu"])
    if gpus:
        # Shares of one GPU; the small addend keeps 1 / 0.1 from being nine.
        on_one = int(1.0 / gpus + 1e-9)
        room = min(room, int(gpus_there) * on_one if on_one else int(gpus_there // gpus))
    if config.max_concurrent is None:
        return per_trial, room
    growing = address != "local"
    return per_trial, config.max_concurrent if growing else min(room, config.max_concurrent)
