"""Measures a trial's memory where there is no GPU; in a module that Ray's workers can import."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest

from hpo.records.sweep_folder import SweepFolder
from hpo.trials.gpu_share import Memory
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
