from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from core.datasets.dataset import dataset_names, open_dataset, save_dataset
from core.datasets.loading import load_dataset
from core.datasets.synthetic import build_synthetic, make_network, simulate_speeds
from core.errors import ConfigError, StorageError, UnknownNameError
from core.files import sha256_of_file
from core.graph import gaussian_adjacency
from core.preprocessing.gaps import interpolate_gaps

DAYS, STEPS, LAGS, AHEAD = 14, 288, 4, 3


@pytest.fixture(scope="module")
def network():
    return make_network(np.random.default_rng(0), 24)


@pytest.fixture(scope="module")
def days(network) -> np.ndarray:
    """[14, 288, 24] without gaps."""
    rng = np.random.default_rng(0)
    make_network(rng, 24)
    speeds = interpolate_gaps(simulate_speeds(rng, network, DAYS))
    return speeds.astype(np.float64).reshape(DAYS, STEPS, -1)


def _downstream(network, sensor: int, hops: int) -> list[int]:
    found = []
    while len(found) < hops and network.downstream[sensor] >= 0:
        sensor = network.downstream[sensor]
        found.append(sensor)
    return found


def _autoregression_mae(days: np.ndarray, sensor: int, inputs: list[int]) -> float:
    """Fit 15 minutes ahead on ten days, return the error on the last two."""

    def rows(part):
        stop = STEPS - AHEAD
        lags = [part[:, LAGS - 1 - lag : stop - lag][:, :, inputs] for lag in range(LAGS)]
        features = np.concatenate([*lags, np.ones((*lags[0].shape[:2], 1))], axis=2)
        return features.reshape(-1, features.shape[2]), part[:, LAGS - 1 + AHEAD :, sensor].ravel()

    features, targets = rows(days[:10])
    weights = np.linalg.lstsq(features, targets, rcond=None)[0]
    features, targets = rows(days[12:])
    return float(np.abs(features @ weights - targets).mean())


def test_what_lies_downstream_tells_what_comes(network, days):
    own, both, persistence = [], [], []
    for sensor in range(24):
        own.append(_autoregression_mae(days, sensor, [sensor]))
        both.append(_autoregression_mae(days, sensor, [sensor, *_downstream(network, sensor, 4)]))
        last, target = days[12:, LAGS - 1 : -AHEAD, sensor], days[12:, LAGS - 1 + AHEAD :, sensor]
        persistence.append(np.abs(last - target).mean())
    assert np.mean(both) < 0.8 * np.mean(persistence)
    assert np.mean(both) < 0.8 * np.mean(own)


def test_congestion_arrives_upstream_later_at_about_11_mph(network, days):
    pairs = [(i, j) for i, j in enumerate(network.downstream) if j >= 0]
    lags = np.arange(-6, 7)
    best = []
    for upstream, downstream in pairs:
        change = np.diff(days, axis=1)
        here = change[:, 6:-6, upstream].ravel()
        products = [
            here @ change[:, 6 - lag : change.shape[1] - 6 - lag, downstream].ravel()
            for lag in lags
        ]
        best.append(int(lags[np.argmax(products)]))
    expected = np.array([network.gap[i] for i, _ in pairs]) / (11 * 1.609344 / 60) / 5
    # Where a road merges, the trunk's own waves may hide those of the junction.
    assert np.mean(np.abs(best - expected) <= 1.0) > 0.8
    assert np.mean(best) > 0.5


def test_rush_hours_differ_by_direction(network, days):
    morning, evening = (
        days[:, 7 * 12 : 9 * 12].mean(axis=(0, 1)),
        days[:, 17 * 12 : 19 * 12].mean(axis=(0, 1)),
    )
    night = days[:, : 4 * 12].mean(axis=(0, 1))
    road = np.array([name[0] for name in network.ids])
    assert night.min() > 60
    assert morning[road == "A"].mean() < evening[road == "A"].mean() < night[road == "A"].mean()
    assert evening[road == "B"].mean() < morning[road == "B"].mean() < night[road == "B"].mean()


def test_days_vary(days):
    profiles = days.mean(axis=2)
    differences = np.abs(profiles[:, None] - profiles[None]).mean(axis=2)
    assert differences[~np.eye(DAYS, dtype=bool)].min() > 0.5


def test_the_graph_is_sparse_and_leaves_nobody_alone(network):
    neighbours = (gaussian_adjacency(network.distances) > 0).sum(axis=1)
    assert neighbours.min() >= 1
    assert neighbours.max() <= 8
    assert np.isfinite(network.distances).all()
    np.testing.assert_array_equal(network.distances, network.distances.T)


def test_synthetic_readings_look_like_detectors(tmp_path):
    dataset = build_synthetic(tmp_path / "made")
    card = dataset.card
    assert dataset.readings.shape == (14 * 288, 24)
    assert (card.split, card.day_kind, card.interval_minutes) == ((10, 2, 2), "weekdays", 5)
    assert 0.005 < card.missing_share < 0.02
    assert card.minimum >= 3.0
    assert 62 < card.maximum < 80
    tenths = dataset.readings[~np.isnan(dataset.readings)] * 10
    np.testing.assert_allclose(tenths, np.round(tenths), atol=1e-3)
    assert card.settings == {"seed": 0, "num_sensors": 24}


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first = build_synthetic(tmp_path / "a", seed=3, num_sensors=8, split=(1, 1, 1))
    again = build_synthetic(tmp_path / "b", seed=3, num_sensors=8, split=(1, 1, 1))
    other = build_synthetic(tmp_path / "c", seed=4, num_sensors=8, split=(1, 1, 1))
    assert first.card.files == again.card.files
    assert first.fingerprint == again.fingerprint != other.fingerprint


@pytest.mark.parametrize("num_sensors", [4, 5, 13, 30])
def test_networks_of_any_size_are_joined(num_sensors):
    network = make_network(np.random.default_rng(0), num_sensors)
    assert len(set(network.ids)) == num_sensors
    assert np.isfinite(network.distances).all()


def test_too_few_sensors_are_refused():
    with pytest.raises(ConfigError, match="at least 4 sensors, got 3"):
        make_network(np.random.default_rng(0), 3)


def _load_and_digest(folder: Path) -> list[str]:
    dataset = load_dataset(folder, "synthetic")
    assert np.nanmin(dataset.readings) >= 3.0
    return [sha256_of_file(folder / "synthetic" / name) for name in sorted(dataset.card.files)]


def test_several_processes_may_ask_for_it_first(tmp_path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        digests = pool.map(_load_and_digest, [tmp_path] * 8, chunksize=1)
    assert all(digest == digests[0] for digest in digests)
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic"]


def test_who_comes_second_finds_what_is_there(tmp_path, monkeypatch):
    def somebody_is_faster(folder):
        build_synthetic(folder, num_sensors=5, split=(1, 1, 1))
        return build_synthetic(folder)

    monkeypatch.setattr("core.datasets.loading.build_synthetic", somebody_is_faster)
    assert load_dataset(tmp_path, "synthetic").card.num_sensors == 5
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic"]


def test_a_dataset_is_never_replaced(tmp_path, tiny_dataset):
    card = build_synthetic(tmp_path / "mine", num_sensors=5, split=(1, 1, 1)).card
    fields = {
        name: getattr(card, name)
        for name in (
            "unit",
            "interval_minutes",
            "day_kind",
            "split",
            "sensor_ids",
            "graph",
            "sources",
        )
    }
    with pytest.raises(FileExistsError):
        save_dataset(
            tmp_path / "mine", fields, np.zeros((864, 5), np.float32), np.eye(5, dtype=np.float32)
        )
    assert open_dataset(tmp_path / "mine").card == card
    assert dataset_names(tmp_path) == ["mine"]


def test_names_that_are_not_there(tmp_path):
    with pytest.raises(
        UnknownNameError, match="unknown dataset 'sinthetic'; did you mean 'synthetic'"
    ):
        load_dataset(tmp_path, "sinthetic")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="must be writable"):
        load_dataset(tmp_path / "file", "synthetic")
