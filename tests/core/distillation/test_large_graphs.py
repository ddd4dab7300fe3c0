"""Memory of a training step on a graph of 2,000 sensors."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

STEP_SCRIPT = """
import resource, sys, torch
from dataclasses import fields
from pathlib import Path
from core.distillation.losses import LOSSES, make_loss
from core.distillation.teacher_targets import load_teacher_targets
from core.experiments import new_network
from core.preprocessing.batching import cut_batch
from core.preprocessing.prepare import prepare
from core.datasets.dataset import open_dataset
from core.stgcn import STGCNConfig, STUDENT_CHANNELS, TEACHER_CHANNELS

torch.set_num_threads(1)
folder, budget, method, windows = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
for package in sys.argv[5:]:
    sys.modules[package] = None  # as if it were not installed
data = prepare(open_dataset(folder / "data"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def network(channels):
    shape = STGCNConfig(data.card.num_sensors, channels, data.history_steps)
    return new_network(shape, data.graph_kernel, 0)
loss = make_loss(method, {field.name: 0.5 for field in fields(LOSSES[method])})
targets = load_teacher_targets(
    folder / sys.argv[2] / "targets", network(TEACHER_CHANNELS), data, loss.needs, budget
)
student = network(STUDENT_CHANNELS)
rows = torch.arange(windows)
history, target, _ = cut_batch(data.readings, data.readings, rows, data.history_steps, 1)
prediction, features = student(history)
loss(prediction[:, 0], features, target, targets.of(rows, loss.needs)).total.backward()
print(sorted(targets.layers))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """Three days of 2,000 sensors."""
    import numpy as np

    from core.datasets.dataset import save_dataset

    folder = tmp_path_factory.mktemp("large")
    N, rows = 2000, 3 * 96
    generator = np.random.default_rng(0)
    adjacency = np.triu(generator.random((N, N)) < 0.005, 1).astype(np.float32)
    fields = {
        "unit": "mph",
        "interval_minutes": 15,
        "day_kind": "weekdays",
        "split": (1, 1, 1),
        "sensor_ids": tuple(f"sensor-{index}" for index in range(N)),
        "graph": "random",
        "sources": {"readings.csv": "0" * 64},
    }
    readings = generator.normal(60, 10, (rows, N)).astype(np.float32)
    save_dataset(folder / "data", fields, readings, adjacency + adjacency.T)
    return folder


def peak_of_a_step(folder: Path, *arguments: object) -> tuple[str, int]:
    """Train one step in a fresh process; the layers stored and the bytes on top of the data."""
    done = subprocess.run(
        [sys.executable, "-c", STEP_SCRIPT, str(folder), *map(str, arguments)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    layers, kibibytes = done.stdout.splitlines()
    return layers, int(kibibytes) * 1024


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
@pytest.mark.parametrize(("budget", "stored"), [(100_000_000, "spatial"), (1_000_000, None)])
def test_two_thousand_sensors_train_within_two_gigabytes(budget, stored, large):
    layers, peak = peak_of_a_step(large, budget, "stcd", 50)
    assert (stored is None) == (layers == "[]")
    assert peak < 2 * 1024**3


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("method", ["stcd", "skd"])
def test_they_do_with_the_reference_too(method, large):
    """Twelve windows: the distances of all their pairs take 2 GB, twice that with gradients."""
    _, peak = peak_of_a_step(large, 1_000_000, method, 12, "numba")
    assert peak < 2 * 1024**3
