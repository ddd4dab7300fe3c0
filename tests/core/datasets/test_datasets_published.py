"""The published datasets: what is said of them, and imports of files in their forms."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.datasets.importing import ImportRequest, import_dataset
from core.datasets.published import PUBLISHED, find_published
from core.errors import ConfigError, DatasetError, ShapeError, UnknownNameError
from tests.core.hdf5_frames import five_minutes, write_frame
from tests.core.python2_pickles import graph_pickle

DAY = 288
IDS = ["400030", "400001", "400017"]
"""In the order of the readings."""
WEIGHTS = np.array([[1, 0.2, 0.7], [0.5, 1, 0], [0, 0, 1]], dtype="<f4")
"""From the first sensor to the second and back, they differ."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_dataset_says_all_there_is_to_know(name: str) -> None:
    dataset = PUBLISHED[name]
    assert dataset.name == name
    assert 1 <= len(dataset.downloads) <= 2
    for item in dataset.downloads:
        assert item.address.startswith("https://")
        assert item.address.endswith(f"/{item.name}")
        kind, digits = item.checksum.split(":")
        assert re.fullmatch(r"[0-9a-f]+", digits)
        assert len(digits) == {"sha256": 64, "md5": 32, "git": 40}[kind]
        if "raw.githubusercontent.com" in item.address:  # at one commit, so that it stays the same
            assert re.search(r"/[0-9a-f]{40}/", item.address)
    assert dataset.page.startswith("https://")


def test_an_unknown_one_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'pems-bay'"):
        find_published("pemsbay")


@pytest.fixture
def small_bay(tmp_path: Path) -> Path:
    """Four days of three sensors like PEMS-BAY's, one hour of the second day skipped."""
    values = np.random.default_rng(0).uniform(20, 70, (4 * DAY, 3)).round(1)
    values[5, 1] = 0.0
    kept = np.delete(np.arange(4 * DAY), np.s_[DAY + 24 : DAY + 36])
    stamps = five_minutes(4 * DAY, "2017-03-11")[kept]
    ids = [int(sensor) for sensor in IDS]
    write_frame(tmp_path / "pems-bay.h5", values[kept], ids, stamps, key="speed")
    order = [1, 2, 0]  # the graph's sensors are in another order
    graph = graph_pickle([IDS[i] for i in order], WEIGHTS[np.ix_(order, order)], 0)
    (tmp_path / "adj_mx_bay.pkl").write_bytes(graph)
    return tmp_path


def test_pems_bay_in_small(small_bay: Path, tmp_path: Path) -> None:
    published = replace(PUBLISHED["pems-bay"], split=(2, 1, 1))
    dataset = import_dataset(tmp_path / "data", published.request(small_bay, "bay"))
    assert dataset.card.sensor_ids == tuple(IDS)
    assert dataset.readings.shape == (4 * DAY, 3)
    gaps = np.isnan(dataset.readings)
    assert gaps[DAY + 24 : DAY + 36].all()
    assert gaps[5, 1]
    assert gaps.sum() == 3 * 12 + 1
    expected = np.array([[0, 0.5, 0.7], [0.5, 0, 0], [0.7, 0, 0]], dtype=np.float32)
    np.testing.assert_array_equal(dataset.adjacency, expected)
    assert dataset.card.day_kind == "consecutive"
    assert dataset.card.graph.endswith("the nearer of two directions")
    again = import_dataset(tmp_path / "data", published.request(small_bay, "bay"))
    assert again.fingerprint == dataset.fingerprint


def test_a_graph_that_does_not_fit_is_refused(small_bay: Path, tmp_path: Path) -> None:
    published = replace(PUBLISHED["pems-bay"], split=(2, 1, 1))
    graph = small_bay / "adj_mx_bay.pkl"
    request = published.request(small_bay, "bay")
    for content, error, message in (
        (graph_pickle(["1", *IDS[:2]], WEIGHTS, 2), DatasetError, "'1' is in one of the two only"),
        (graph_pickle(IDS[:2], WEIGHTS[:2, :2], 2), ShapeError, "join the 3 sensors"),
        (graph_pickle(IDS, WEIGHTS[0], 2), DatasetError, "must be one matrix of weights"),
        (graph_pickle(IDS, -WEIGHTS, 2), DatasetError, "must be zero or positive"),
        (b"cos\nsystem\n(S'false'\ntR.", DatasetError, "nothing of it was run"),
    ):
        graph.write_bytes(content)
        with pytest.raises(error, match=message):
            import_dataset(tmp_path / "data", request)
    graph.write_bytes(graph_pickle(IDS, WEIGHTS, 1))
    with pytest.raises(DatasetError, match=r"the same both ways, .* say --asymmetric nearer"):
        import_dataset(tmp_path / "data", replace(request, asymmetric="refused"))
    assert not (tmp_path / "data" / "bay").exists()


@pytest.mark.parametrize(
    ("channel", "position", "unit"),
    [(None, 2, "mph"), ("flow", 0, "vehicles/5min"), ("occupancy", 1, "share")],
)
def test_pems08_in_small(tmp_path: Path, channel: str | None, position: int, unit: str) -> None:
    data = np.random.default_rng(1).uniform(1, 70, (4 * DAY, 3, 3)).astype(np.float32)
    np.savez_compressed(tmp_path / "PEMS08.npz", data=data)
    (tmp_path / "distance.csv").write_text("from,to,cost\n0,1,500.5\n1,2,1200\n")
    published = replace(PUBLISHED["pems08"], split=(2, 1, 1))
    dataset = import_dataset(tmp_path / "data", published.request(tmp_path, "mine", channel))
    np.testing.assert_array_equal(dataset.readings, data[:, :, position])
    assert dataset.card.unit == unit
    with pytest.raises(UnknownNameError, match="unknown channel of pems08 'sped'"):
        published.request(tmp_path, "mine", "sped")


def test_what_a_folder_lacks(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"must hold metr-la\.h5 or METR-LA\.h5, .* https://"):
        PUBLISHED["metr-la"].request(tmp_path, "metr-la")
    with pytest.raises(ConfigError, match="metr-la has a single channel, got 'flow'"):
        PUBLISHED["metr-la"].request(tmp_path, "metr-la", "flow")


@pytest.mark.parametrize("kind", ["distances", "edges"])
def test_distances_that_differ_by_direction(tmp_path: Path, kind: str) -> None:
    """The nearer direction counts, as for weights."""
    rows = [["0", "1", "900"], ["1", "0", "400"], ["1", "2", "2000"]]
    matrix = pd.DataFrame([[0, 900, 0], [400, 0, 2000], [0, 2000, 0]])
    readings = tmp_path / "r.csv"
    pd.DataFrame(np.random.default_rng(2).uniform(20, 70, (72, 3))).to_csv(
        readings, header=False, index=False
    )
    graph = tmp_path / "g.csv"
    if kind == "edges":
        graph.write_text("\n".join(",".join(row) for row in [["from", "to", "cost"], *rows]))
    else:
        matrix.to_csv(graph, header=False, index=False)
    request = ImportRequest(
        name="mine",
        readings=readings,
        **{kind: graph},
        interval_minutes=60,
        split=(1, 1, 1),
        zero_distance="unconnected",
        asymmetric="nearer",
    )
    dataset = import_dataset(tmp_path / "data", request)
    near, far = np.exp(-0.016), np.exp(-0.4)
    expected = np.array([[0, near, 0], [near, 0, far], [0, far, 0]])
    np.testing.assert_allclose(dataset.adjacency, expected, rtol=1e-6)
    with pytest.raises(DatasetError, match="--asymmetric nearer"):
        import_dataset(tmp_path / "other", replace(request, asymmetric="refused"))
    with pytest.raises(ConfigError, match="refused or become the nearer, got 'mean'"):
        replace(request, asymmetric="mean")


@pytest.mark.real_data
def test_pemsd7_m_at_full_length(real_data_folder: Path, tmp_path: Path) -> None:
    """The public file has 44 days; here its first 30, and the first 14 of them again."""
    ours = real_data_folder / "pemsd7-m"
    lines = (ours / "V_228_days00-29.csv").read_text().splitlines(keepends=True)
    (tmp_path / "V_228.csv").write_text("".join(lines + lines[: 14 * DAY]))
    (tmp_path / "W_228.csv").write_bytes((ours / "W_228.csv").read_bytes())
    dataset = import_dataset(tmp_path / "data", PUBLISHED["pemsd7-m"].request(tmp_path, "pemsd7-m"))
    assert dataset.readings.shape == (12_672, 228)
    assert dataset.card.split == (34, 5, 5)
    assert dataset.card.day_kind == "weekdays"
    assert dataset.card.edges == 1664


@pytest.mark.real_data
def test_pems08_at_full_length(real_data_folder: Path, tmp_path: Path) -> None:
    """The public array has three channels and 62 days; here 19 real days of flow, repeated."""
    ours = real_data_folder / "pems08"
    flow = np.load(ours / "pems08_flow_days38-56.npz")["data"][:, :, 0]
    whole = np.resize(flow, (62 * DAY, 170))
    np.savez(tmp_path / "pems08.npz", data=np.stack([whole, whole / 1e4, 70 - whole / 30], axis=2))
    (tmp_path / "distance.csv").write_bytes((ours / "distance.csv").read_bytes())
    request = PUBLISHED["pems08"].request(tmp_path, "pems08", "flow")
    dataset = import_dataset(tmp_path / "data", request)
    np.testing.assert_array_equal(dataset.readings, whole)
    assert dataset.card.split == (50, 6, 6)
    assert dataset.card.edges == 2 * 273
    known = next(item for item in PUBLISHED["pems08"].downloads if item.name == "distance.csv")
    assert dataset.card.sources["distance.csv"] == known.checksum.removeprefix("sha256:")
    assert (ours / "distance.csv").stat().st_size == known.num_bytes


@pytest.mark.real_data
def test_metr_la_at_full_length(real_data_folder: Path, tmp_path: Path) -> None:
    """The public file has 119 days; here a real week, repeated, and the real graph, pickled."""
    ours = real_data_folder / "metr-la"
    week = pd.read_csv(ours / "los_speed.csv")
    ids = (ours / "graph_sensor_ids.txt").read_text().strip().split(",")
    assert list(week.columns) == ids
    speeds = np.resize(week.to_numpy(), (119 * DAY, 207))
    speeds[100:110, 3] = 0.0
    write_frame(tmp_path / "metr-la.h5", speeds, ids, five_minutes(119 * DAY))
    weights = pd.read_csv(ours / "los_adj.csv", header=None).to_numpy(dtype="<f4")
    (tmp_path / "adj_mx.pkl").write_bytes(graph_pickle(ids, np.triu(weights), 0))
    dataset = import_dataset(tmp_path / "data", PUBLISHED["metr-la"].request(tmp_path, "metr-la"))
    assert dataset.readings.shape == (119 * DAY, 207)
    assert np.isnan(dataset.readings[100:110, 3]).all()
    assert dataset.card.sensor_ids == tuple(ids)
    assert dataset.card.edges == 2833 - 207
    assert json.loads((tmp_path / "data/metr-la/card.json").read_text())["split"] == [83, 12, 24]
