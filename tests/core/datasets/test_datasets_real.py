"""The public readings, imported as the documentation says."""

from __future__ import annotations

import numpy as np
import pytest

from core.datasets.checking import check_dataset
from core.datasets.importing import ImportRequest, import_dataset

pytestmark = pytest.mark.real_data


def _notes(dataset) -> str:
    problems = check_dataset(dataset)
    assert [problem for problem in problems if problem.severity == "warning"] == []
    return "\n".join(problem.text for problem in problems)


def test_pemsd7(real_data_folder, tmp_path):
    folder = real_data_folder / "pemsd7-m"
    request = ImportRequest(
        name="pemsd7",
        readings=folder / "V_228_days00-29.csv",
        distances=folder / "W_228.csv",
        day_kind="weekdays",
        split=(22, 4, 4),
    )
    dataset = import_dataset(tmp_path, request)
    assert dataset.readings.shape == (8640, 228)
    assert not np.isnan(dataset.readings).any()
    assert dataset.readings.min() == np.float32(3.0)
    assert dataset.readings.max() == np.float32(82.6)
    assert float(dataset.readings[0, 9]) == pytest.approx(40.9)
    assert dataset.card.edges == np.count_nonzero(dataset.adjacency) == 1664
    notes = _notes(dataset)
    assert "day 19 (training) looks unlike the rest" in notes
    assert "without any neighbour in the graph: 3 sensors (13, 135, 226)" in notes


def test_pems08(real_data_folder, tmp_path):
    folder = real_data_folder / "pems08"
    request = ImportRequest(
        name="pems08",
        readings=folder / "pems08_flow_days38-56.npz",
        edges=folder / "distance.csv",
        day_kind="consecutive",
        split=(13, 3, 3),
        unit="vehicles/5min",
    )
    dataset = import_dataset(tmp_path, request)
    assert dataset.readings.shape == (5472, 170)
    assert (dataset.readings == 0).mean() == pytest.approx(0.0036, abs=1e-4)
    # 274 undirected pairs, one of them farther apart than the kernel reaches.
    assert dataset.card.edges == 2 * 273
    assert dataset.adjacency[9, 153] == pytest.approx(np.exp(-(0.3106**2) / 10), rel=1e-6)
    assert "exactly 0" in _notes(dataset)


def test_metr_la(real_data_folder, tmp_path):
    folder = real_data_folder / "metr-la"
    request = ImportRequest(
        name="metr-la",
        readings=folder / "los_speed.csv",
        adjacency=folder / "los_adj.csv",
        day_kind="consecutive",
        split=(5, 1, 1),
    )
    dataset = import_dataset(tmp_path, request)
    assert dataset.readings.shape == (2016, 207)
    listed = (folder / "graph_sensor_ids.txt").read_text().strip().split(",")
    assert dataset.card.sensor_ids == tuple(listed)
    assert not dataset.adjacency.diagonal().any()
    assert dataset.card.edges == 2833 - 207
    assert "1 sensor (717804)" in _notes(dataset)


def test_metr_la_distances_where_zero_means_no_road(real_data_folder, tmp_path):
    folder = real_data_folder / "metr-la"
    request = ImportRequest(
        name="metr-la",
        readings=folder / "los_speed.csv",
        distances=folder / "W_metrla.csv",
        zero_distance="unconnected",
        day_kind="consecutive",
        split=(5, 1, 1),
    )
    assert import_dataset(tmp_path, request).card.edges == 170
