"""Run a function over seeds and keep its results in one JSON file.

Seeds that the file has are not run again. Prints a line per run and a summary. Does not know what
the function trains.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.measuring import machine
from core.files import write_json

Run = dict[str, Any]
"""Plain values of one run: at least ``val_mae`` and ``val_mae_15`` … of the student."""


def run_seeds(out: Path, name: str, seeds: int, run: Callable[[int], Run]) -> None:
    """Call ``run`` for those seeds 0 .. seeds - 1 that ``out`` lacks under ``name``."""
    found = json.loads(out.read_text()) if out.exists() else {"runs": {}}
    runs = found["runs"].setdefault(name, {})
    for seed in range(seeds):
        if str(seed) not in runs:
            runs[str(seed)] = run(seed)
            write_json(out, {**found, **machine()})
        _print(f"{name} seed {seed}: {_errors(runs[str(seed)])}")
    means = [one["val_mae"] for one in runs.values()]
    spread = f"{min(means):.3f} .. {max(means):.3f}"
    _print(f"{name}: {len(means)} seeds, validation MAE {statistics.mean(means):.3f}, {spread}")


def _errors(run: Mapping[str, float]) -> str:
    errors = " / ".join(f"{run[f'val_mae_{minutes}']:.3f}" for minutes in (15, 30, 45))
    return f"{errors}, mean {run['val_mae']:.4f}"


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
