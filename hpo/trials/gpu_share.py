"""What one trial needs of a GPU in, measured before a sweep; the share that each trial takes out.

For ``--gpus-per-trial auto``: one epoch of the largest student in the largest batches runs as a Ray
task with a whole GPU to itself, and as many trials as its peak memory allows share one from then
on. The ledger keeps what was chosen, so that a sweep which resumes asks nobody. Without GPUs the
share is 0, as by default.
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
from hpo.records.trial_files import bring_for_worker, open_sweep
from hpo.space.parameters import STUDENT_WIDTHS
from hpo.space.search_space import SearchSpace, corners
from hpo.trials.student_training import build_targets, open_plan, train_trial

MARGIN = 1.2
"""How much more memory than the probe a trial may take: settings differ, allocators fragment."""
MOST_SHARING = 8
"""Trials that share a GPU at most: more would wait for its arithmetic, not for its memory."""

Memory = dict[str, int]
"""Bytes: ``peak`` of the probe, ``total`` of its GPU."""
Measure = Callable[[str, dict[str, Any]], Memory]
"""Takes a sweep's address and a trial's settings."""


def share_of(memory: Memory) -> float:
    """Return the share 1 / n of a GPU that a trial takes; 1 where it needs all there is."""
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
        ledger: knows the share, or will.
        available: what the cluster has, by Ray's names of resources.
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

    All else is the space's first point, which is known to train well; a share to prune begins with
    the whole base whatever it is.
    """
    large = corners(space)[1]
    grown = {name: large[name] for name in ("batch_size", *STUDENT_WIDTHS) if name in large}
    return {**(space.points() or [large])[0], **grown}


def measure_memory(folder: str, settings: dict[str, Any]) -> Memory:
    """Train one epoch and return what it took of this process's GPU at most.

    Validation is part of an epoch: it takes memory too. What the teacher says of the training days
    is built first, which only the first trial of a machine does, and does not count.
    """
    sweep = open_sweep(folder)
    bring_for_worker(sweep)
    build_targets(sweep, *open_plan(sweep))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    _train_one_epoch(sweep, settings)
    free, total = torch.cuda.mem_get_info()
    # What is in use beside torch's own: the context of this process, and whoever else is there.
    beside = total - free - torch.cuda.memory_reserved()
    return {"peak": torch.cuda.max_memory_reserved() + beside, "total": total}


class _OneEpochError(Exception):
    """The probe has seen enough."""


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
