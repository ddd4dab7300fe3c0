"""Measure the memory of a further trial on a node, beyond an interpreter with torch imported.

    python -m benchmarks.trial_memory FOLDER trial    trains an epoch, then reports on request
    python -m benchmarks.trial_memory FOLDER idle     only imports, then reports on request

Reports private pages and the proportional share of all pages, in bytes (Linux only).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, cast

import torch

from benchmarks.problem import make_targets, train_student
from core.datasets.dataset import open_dataset
from core.distillation.correlation.backends import import_compiled_terms
from core.preprocessing.prepare import prepare


def measure_trials(folder: Path, trials: int) -> dict[str, Any]:
    """Run ``trials`` at once beside an idle interpreter and compare their memory.

    Args:
        folder: holds ``data`` and ``targets`` of ``benchmarks.problem``.
        trials: how many.
    """
    roles = ["idle"] + ["trial"] * trials
    processes = [_start(folder, role) for role in roles]
    try:
        for process in processes:
            cast("IO[str]", process.stdout).readline()
        idle, *busy = [_ask(process) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return {
        "idle_private_megabytes": idle["private"] / 1e6,
        "extra_private_megabytes": [(one["private"] - idle["private"]) / 1e6 for one in busy],
        "extra_proportional_megabytes": [(one["pss"] - idle["pss"]) / 1e6 for one in busy],
    }


def main() -> None:
    """Run one of the measured processes."""
    folder, role = Path(sys.argv[1]), sys.argv[2]
    import_compiled_terms()
    # The first optimiser makes torch import its compiler, 60 MB, so the idle one does it too.
    torch.optim.RMSprop([torch.zeros(1)])
    if role == "trial":
        data = prepare(open_dataset(folder / "data"))
        train_student(data, make_targets(folder, data), windows_per_segment=5)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(json.dumps(_memory()) + "\n")
    sys.stdout.flush()
    sys.stdin.readline()  # stay until all have reported: pages are shared among live processes only


def _start(folder: Path, role: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.trial_memory", str(folder), role]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def _ask(process: subprocess.Popen[str]) -> dict[str, int]:
    cast("IO[str]", process.stdin).write("\n")
    said: dict[str, int] = json.loads(cast("IO[str]", process.stdout).readline())
    return said


def _memory() -> dict[str, int]:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kibibytes = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    private = kibibytes["Private_Clean"] + kibibytes["Private_Dirty"]
    return {"private": private * 1024, "pss": kibibytes["Pss"] * 1024}


if __name__ == "__main__":
    main()
