"""A small dataset with gaps, and untrained students of it, for tests that need whole ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import core.export.export_folder
from core.datasets.dataset import Dataset, open_dataset, save_dataset
from core.experiments import network_shape, new_network
from core.forecasters.parity import Parity
from core.forms import find_form
from core.preprocessing.prepare import PreparedData
from core.stgcn import STGCN, STUDENT_CHANNELS

SENSORS = ("north", "east", "south", "west", "middle")
ROWS_PER_DAY = 96
SPLIT = (3, 1, 2)
LINEAGE: dict[str, Any] = {
    "dataset": "small",
    "dataset_fingerprint": "d" * 16,
    "teacher_fingerprint": None,
    "sweep": "first",
    "trial": 7,
    "seed": 11,
    "versions": {"stgcn-student-search": "0.1.0", "torch": "2"},
    "command": "hpo sweep ord",
}
"""What a manifest must tell of where a student comes from."""
WINDOWS_PER_DAY = ROWS_PER_DAY - 14
"""Quarter-hours: 12 rows of history, 3 of horizon."""


def make_dataset(folder: Path, day_kind: str = "weekdays", seed: int = 0) -> Dataset:
    """Rush hours, noise, some gaps and some zeros in every part of the split."""
    generator = np.random.default_rng(seed)
    rows = sum(SPLIT) * ROWS_PER_DAY
    hours = 2 * np.pi * np.arange(rows)[:, None] / ROWS_PER_DAY
    readings = 55 + 12 * np.sin(hours + np.arange(5)) + generator.normal(0, 2, (rows, 5))
    readings[generator.random(readings.shape) < 0.03] = np.nan
    readings[generator.random(readings.shape) < 0.01] = 0.0
    adjacency = np.ones((5, 5)) - np.eye(5)
    adjacency[0, 3] = adjacency[3, 0] = 0.0
    fields = {
        "unit": "mph",
        "interval_minutes": 15,
        "day_kind": day_kind,
        "split": SPLIT,
        "sensor_ids": SENSORS,
        "graph": "a ring with a middle",
        "sources": {"readings.csv": "0" * 64},
    }
    save_dataset(folder, fields, readings.astype(np.float32), adjacency.astype(np.float32))
    return open_dataset(folder)


def make_student(data: PreparedData, seed: int = 0, form: str = "paper") -> STGCN:
    """A student of Table 1's widths with fresh weights."""
    shape = network_shape(data, STUDENT_CHANNELS, find_form(form).network)
    return new_network(shape, data.graph_kernel, seed)


def stand_in_forecasters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare exports the conversion and what is measured of it; ``tests/core/export`` tests both."""
    names = ("model.onnx", "live.onnx", "model.pt2")
    speed = {
        "measured": "nothing",
        "runtime": "none",
        "threads": 1,
        "machine": "somewhere",
        "system": "some",
        "cpus": 1,
        "milliseconds": {"1": {"rounds": 1, "p10": 1.0, "p50": 1.0, "p90": 1.0}},
    }
    parity = {name: Parity(0.0, 0.0, 0.0, 82) for name in names}
    files = dict.fromkeys(names, b"forecaster")
    monkeypatch.setattr(core.export.export_folder, "make_forecasters", lambda *_: files)
    monkeypatch.setattr(core.export.export_folder, "measure_parity", lambda *_: parity.items())
    monkeypatch.setattr(core.export.export_folder, "measure_speed", lambda *_: speed)
