"""Sweeps as their users run them: commands in processes of their own, watched through their files.

Starts and watches processes; ends only those it started.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpo.driver.observers import SweepObserver
from hpo.records.sweep_plan import SweepPlan
from hpo.records.sweep_state import SweepState
from hpo.records.trial_records import read_records

ROOT = Path(__file__).parents[2]
SPACE = """
method: none
parameters:
  batch_size: {type: categorical, choices: [50]}
  learning_rate: {type: float, low: 1.0e-9, high: 1.0e+30, log: true}
first_points:
  - {source: good, values: {batch_size: 50, learning_rate: 0.01}}
  - {source: fair, values: {batch_size: 50, learning_rate: 0.002}}
  - {source: poor, values: {batch_size: 50, learning_rate: 1.0e-9}}
  - {source: worst, values: {batch_size: 50, learning_rate: 1.0e+30}}
"""
"""Four trials without a draw; the third learns nothing, the fourth diverges."""
PATIENCE = 300.0
"""Seconds that anything may take, however busy the machine; else it hangs."""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "hpo", *map(str, arguments)]


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HPO_")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def hpo(*arguments: object, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def start(log: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own, as a terminal does; output goes to ``log``."""
    with log.open("ab") as stream:
        return subprocess.Popen(
            command(*arguments),
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Say whether ``condition`` came true in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def events(sweep: Path) -> list[dict[str, Any]]:
    """The whole lines of a sweep's ledger."""
    path = sweep / "ledger.jsonl"
    content = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def descendants(pid: int) -> dict[int, str]:
    """Process id -> title of everything that ``pid`` started, directly or not."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue  # ended meanwhile
        children.setdefault(parent, []).append(int(status.parent.name))
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found[child] = title(child)
            waiting.append(child)
    return found


def title(pid: int) -> str:
    """What a process calls itself; empty when it has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        text = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""
    return "" if state == "Z" else text


def sweep_arguments(traffic: Path, storage: Path, space_file: Path, epochs: int) -> list[object]:
    """The four trials of ``SPACE`` as a sweep called ``night``, two at a time."""
    places = ["--data", traffic, "--storage", storage, "--space", space_file]
    fixed = ["--dataset", "small", "--trials", 4, "--epochs", epochs, "--max-concurrent", 2]
    return ["sweep", "none", "--name", "night", *fixed, *places]


def check_nothing_is_lost_or_repeated(sweep: Path) -> None:
    """Of those four trials: every event once, every trial ended and recorded."""
    counts = Counter(
        (event["event"], event["trial"], event.get("epoch")) for event in events(sweep)
    )
    assert set(counts.values()) == {1}
    for kind in ("suggested", "ended"):
        assert sorted(trial for name, trial, _ in counts if name == kind) == [0, 1, 2, 3]
    ended: set[int] = set()
    for event in events(sweep):
        assert event["trial"] not in ended, "a trial that ended went on"
        if event["event"] == "ended":
            ended.add(event["trial"])
    assert [record.trial for record in read_records(sweep / "results")] == [0, 1, 2, 3]


METRICS = [
    *(f"val_{name}{at}" for name in ("mae", "mape", "rmse") for at in ("", "_15", "_30", "_45")),
    "train_loss",
]


def report(trial: int, epoch: int) -> dict[str, Any]:
    """What a worker says after an epoch."""
    return {"trial": trial, "epoch": epoch, **dict.fromkeys(METRICS, 1.0 + trial + 1 / epoch)}


def instant_trial(config: dict[str, Any]) -> None:
    """Stand in for ``run_trial``: one epoch that takes no time."""
    from ray import tune

    told = report(config["trial"], epoch=1)
    tune.report(told)
    tune.report({**told, "ended": True, "status": "finished", "reason": None})


def short_trial(config: dict[str, Any]) -> None:
    """Stand in for ``run_trial``: a moment's work, by a worker that says who it is.

    The first worker to come to trial 5 dies of it. Trials take longer until a third one is there.
    """
    from ray import tune

    told = report(config["trial"], epoch=1)
    died, workers = (Path(config["sweep"]) / name for name in ("died", "workers"))
    workers.mkdir(exist_ok=True)
    (workers / str(os.getpid())).touch()
    if config["trial"] == 5 and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02 if len(list(workers.iterdir())) > 2 else 0.3)
    who = {"machine": str(os.getpid())}
    tune.report({**told, **who, "ended": True, "status": "finished", "reason": None})


def deadly_trial(config: dict[str, Any]) -> None:
    """Stand in for ``run_trial``: tells two epochs, and its process dies."""
    from ray import tune

    for epoch in (1, 2):
        tune.report(report(config["trial"], epoch))
    os.kill(os.getpid(), signal.SIGKILL)


class Watcher(SweepObserver):
    """Calls a function with the state after every change."""

    def __init__(self, on_state: Callable[[SweepState], None]) -> None:
        self.on_state = on_state
        self.changes = 0
        self.targets: tuple[int, int] | None = None

    def on_teacher_epoch(self, report: object) -> None:
        raise AssertionError("no teacher should be trained here")

    def on_teacher_step(self, epoch: int, step: int, steps: int) -> None:
        raise AssertionError("no teacher should be trained here")

    def on_targets(self, done: int, windows: int) -> None:
        self.targets = done, windows

    def on_change(self, plan: SweepPlan, state: SweepState) -> None:
        self.changes += 1
        self.on_state(state)


@contextmanager
def local_ray() -> Iterator[None]:
    """A Ray of two cores that says nothing, for several sweeps."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        yield
    finally:
        ray.shutdown()
