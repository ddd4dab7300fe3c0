"""Run benchmarks, print a line for each and write one JSON file.

``python -m benchmarks.run [CASE ...]``; its options:

--list          name all cases
--out FILE      where to write (default: benchmarks/results/COMMIT.json)
--threads N     torch's threads (default: its own choice)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import CASES, Case
from benchmarks.measuring import machine
from core.files import write_json


def main(arguments: list[str]) -> int:
    """Run the cases that ``arguments`` name and return the exit code."""
    options = _parser().parse_args(arguments)
    if options.list:
        for case in CASES:
            sys.stdout.write(f"{case.name:22}{case.measures}: {case.reach}\n")
        return 0
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    chosen = [case for case in CASES if case.name in (options.case or {case.name})]
    if not torch.cuda.is_available():
        chosen = _without_gpu(chosen)
    where = machine()
    results = {case.name: _run(case) for case in chosen}
    out = options.out or Path(__file__).parent / "results" / f"{where['commit']}.json"
    time = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(out, {"time": time, **where, "cases": results})
    sys.stdout.write(f"written to {out}\n")
    return 0


def _without_gpu(chosen: list[Case]) -> list[Case]:
    left_out = [case.name for case in chosen if case.needs_gpu]
    if left_out:
        sys.stdout.write(f"left out, for want of a GPU: {', '.join(left_out)}\n")
    return [case for case in chosen if not case.needs_gpu]


def _run(case: Case) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found = case.run(Path(folder))
    said = ", ".join(f"{name} {_short(value)}" for name, value in found.items())
    sys.stdout.write(f"{case.name}: {said} (reach {case.reach})\n")
    sys.stdout.flush()
    return {"measures": case.measures, "reach": case.reach, **found}


def _short(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return " .. ".join(f"{one:.3g}" for one in values)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("case", nargs="*", choices=[[], *(case.name for case in CASES)])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
