"""Measure the peak GPU memory of one trial and derive how many trials share a GPU.

For ``--gpus-per-trial auto``: one epoch of the largest student in the largest batches runs as a Ray
task with a whole GPU to itself, and from then on as many trials share a GPU as its peak memory
allows. The ledger keeps the share, so a sweep that resumes does not measure again. Without GPUs the
share is 0, as by default. Does not reserve anything: Ray does, by the share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from core.errors import ConfigError
from core.training.trainer import EpochReport
from hpo.records.ledger import Ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.records.trial_files import download_for_worker, open_sweep
from hpo.space.parameters import NETWORK_PARAMETERS
from hpo.space.search_space import SearchSpace, corners
from hpo.trials.student_training import build_targets, open_plan, train_trial

MARGIN = 1.2
"""Memory allowed to a trial, relative to the probe's: settings differ, allocators fragment."""
MOST_SHARING = 8
"""The most trials that share a GPU: more would be limited by its arithmetic, not its memory."""

Memory = dict[str, int]
"""Bytes: ``peak`` of the probe, ``total`` of its GPU."""
Measure = Callable[[str, dict[str, Any]], Memory]
"""Sweep's address, trial's settings -> memory of the probe."""


def share_of(memory: Memory) -> float:
    """Return the share 1 / n of a GPU for a trial; 1 where it needs the whole GPU."""
    fitting = int(memory["total"] / (memory["peak"] * MARGIN))
    # Ray counts in ten-thousandths: rounded up, the last trial would not fit.
    return 10_000 // max(1, min(MOST_SHARING, fitting)) / 10_000


def find_share(
    folder: SweepFolder,
    plan: SweepPlan,
    ledger: Ledger,
    available: dict[str, float],
    measure: Measure | None = None,
) -> float:
    """Return the share of a GPU that each trial of the sweep takes.

    Args:
        folder: of the sweep, whose plan is written.
        plan: its plan.
        ledger: holds the share, or records it once it is measured.
        available: the cluster's resources, by Ray's names.
        measure: runs the probe in a worker; None: ``measure_memory``.

    Raises:
        ConfigError: the probe failed.
    """
    if not available.get("GPU"):
        return 0.0
    if ledger.state.gpu_share is None:
        memory = _probe(folder, plan, measure or measure_memory)
        ledger.append("shared", gpus_per_trial=share_of(memory), **memory)
    return float((ledger.state.gpu_share or {})["gpus_per_trial"])


def largest_settings(space: SearchSpace) -> dict[str, Any]:
    """Return settings of the largest student in the largest batches.

    All other settings are those of the space's first point, which is known to train well. The
    pruning ratio does not matter: pruning starts with the whole base.
    """
    large = corners(space)[1]
    grown = {name: large[name] for name in ("batch_size", *NETWORK_PARAMETERS) if name in large}
    return {**(space.points() or [large])[0], **grown}


def measure_memory(folder: str, settings: dict[str, Any]) -> Memory:
    """Train one epoch and return its peak memory on this process's GPU.

    Validation is part of the epoch, since it takes memory too. The teacher targets are built first
    and do not count: only the first trial of a machine builds them.
    """
    sweep = open_sweep(folder)
    download_for_worker(sweep)
    build_targets(sweep, *open_plan(sweep))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    _train_one_epoch(sweep, settings)
    free, total = torch.cuda.mem_get_info()
    # In use beside torch's own memory: the CUDA context of this process, and other processes.
    beside = total - free - torch.cuda.memory_reserved()
    return {"peak": torch.cuda.max_memory_reserved() + beside, "total": total}


class _OneEpochError(Exception):
    """Ends the probe after its first epoch."""


def _train_one_epoch(folder: SweepFolder, settings: dict[str, Any]) -> None:
    def stop(report: EpochReport) -> None:
        raise _OneEpochError

    try:
        train_trial(folder, settings, 0, None, stop)
    except _OneEpochError:
        return


def _probe(folder: SweepFolder, plan: SweepPlan, measure: Measure) -> Memory:
    task = ray.remote(num_cpus=plan.config.cpus_per_trial, num_gpus=1)(measure)
    try:
        memory: Memory = ray.get(task.remote(folder.address, largest_settings(plan.space)))
    except RayError as error:
        reason = str(error.cause if hasattr(error, "cause") else error).splitlines()[0]
        raise ConfigError(
            f"--gpus-per-trial auto must be able to train the largest student for an epoch, but "
            f"{reason}; give a number instead, or narrow the space"
        ) from error
    return memory
