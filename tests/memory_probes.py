"""Measures a trial's memory where there is no GPU; in a module that Ray's workers can import."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from hpo.records.sweep_folder import SweepFolder
from hpo.trials import ray_trainable
from hpo.trials.gpu_share import Memory
from hpo.trials.ray_trainable import run_trial
from hpo.trials.student_training import open_plan, train_trial

MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
"""Bytes of this machine."""


class SeenEnoughError(Exception):
    """One epoch."""


def stop(report: object) -> None:
    raise SeenEnoughError


def measure_resident(folder: str, settings: dict[str, Any]) -> Memory:
    """Train an epoch as the probe does; a machine without GPUs tells of its own memory instead."""
    assert os.environ["CUDA_VISIBLE_DEVICES"] in {"0", "1"}
    sweep = SweepFolder(Path(folder))
    open_plan(sweep)

    with pytest.raises(SeenEnoughError):
        train_trial(sweep, settings, 0, None, stop)
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "total": MEMORY}


def fail(folder: str, settings: dict[str, Any]) -> Memory:
    raise RuntimeError("CUDA out of memory\nand more")


def run_hungry_trial(config: dict[str, Any]) -> None:
    """Run a trial as a worker does; one of batches above 40 needs half of a GPU's memory."""
    share = ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0)
    if config["settings"]["batch_size"] <= 40 or share >= 0.5:
        run_trial(config)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_trainable, "train_trial", _run_out_of_memory)
        run_trial(config)


def _run_out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("tried to allocate 3 GiB")
