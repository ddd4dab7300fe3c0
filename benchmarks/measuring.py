"""Time functions, with the spread of their seconds, and name the machine.

Two functions are compared within one run, in turns, so that other load on the machine affects both
alike. Does not assert anything: a busy machine is not a failure.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Work = Callable[[], object]


def seconds_of(work: Work) -> float:
    """Run ``work`` once and return its seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def timed(work: Work, repetitions: int) -> dict[str, Any]:
    """Return median and extremes of ``repetitions`` runs after a warm-up."""
    work()
    return _summary("seconds", [seconds_of(work) for _ in range(repetitions)])


def compared(base: Work, other: Work, repetitions: int) -> dict[str, Any]:
    """Time both in turns after a warm-up of each.

    Returns:
        Seconds of each, and ``ratio``: other / base of neighbouring runs.
    """
    base(), other()
    pairs = [(seconds_of(base), seconds_of(other)) for _ in range(repetitions)]
    return {
        **_summary("base_seconds", [first for first, _ in pairs]),
        **_summary("other_seconds", [second for _, second in pairs]),
        **_summary("ratio", [second / first for first, second in pairs]),
    }


def machine() -> dict[str, Any]:
    """Return machine and versions of a measurement."""
    return {
        "machine": platform.node(),
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load_before": os.getloadavg()[0],
        "commit": _commit(),
    }


def _summary(name: str, values: list[float]) -> dict[str, Any]:
    return {name: statistics.median(values), f"{name}_spread": [min(values), max(values)]}


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
