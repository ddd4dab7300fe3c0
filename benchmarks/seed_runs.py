"""Runs over seeds, kept in one JSON file: what is there is not run again, what is new is added.

A name and a function of a seed in; the file, a line per run and a summary out. Knows nothing of
what is run.
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
    """Run ``run`` for the seeds 0 .. seeds - 1 that ``out`` lacks under ``name``."""
    found = json.loads(out.read_text()) if out.exists() else {"runs": {}}
    runs = found["runs"].setdefault(name, {})
    for seed in range(seeds):
        if str(seed) not in runs:
            runs[str(seed)] = run(seed)
            write_json(out, {**found, **machine()})
        _say(f"{name} seed {seed}: {_errors(runs[str(seed)])}")
    means = [one["val_mae"] for one in runs.values()]
    spread = f"{min(means):.3f} .. {max(means):.3f}"
    _say(f"{name}: {len(means)} seeds, validation MAE {statistics.mean(means):.3f}, {spread}")


def _errors(run: Mapping[str, float]) -> str:
    errors = " / ".join(f"{run[f'val_mae_{minutes}']:.3f}" for minutes in (15, 30, 45))
    return f"{errors}, mean {run['val_mae']:.4f}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
