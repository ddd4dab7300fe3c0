"""Simulate speeds on a small road network, as a built-in dataset that resembles real traffic.

Freeways have a few sensors each; every second one carries the opposite direction. Rush hours and
incidents cause congestion at one place, which then propagates upstream from sensor to sensor and
fades. So the next reading of a sensor can already be seen downstream of it, which is what a network
on the road graph can learn. Readings are in mph every 5 minutes, with the noise and gaps of
detectors. The same seed gives the same values.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.datasets.dataset import Dataset, open_dataset, save_dataset
from core.errors import ConfigError
from core.graph import gaussian_adjacency

SYNTHETIC = "synthetic"
"""Name of the built-in dataset."""
SENSORS_PER_ROAD = 6
DAY_MINUTES = 1440
INTERVAL_MINUTES = 5
WAVE_KILOMETRES_PER_MINUTE = 11 * 1.609344 / 60
"""Congestion travels upstream at about 11 mph."""
FADING_KILOMETRES = 15.0
"""Over this distance congestion fades to 1/e."""
INTERCHANGE_KILOMETRES = 1.5
MISSING_SINGLE, MISSING_RUNS = 0.005, 0.0008
"""Chance of a single lost reading, and of a run of lost readings starting."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RoadNetwork:
    """Sensors along roads that join."""

    ids: tuple[str, ...]
    """Road letter and position, counted in driving direction: ``A1``."""
    downstream: tuple[int, ...]
    """Index of the next sensor downstream of each sensor; -1 where the road leaves the network."""
    gap: Array
    """[N] kilometres to that next sensor."""
    distances: Array
    """[N, N] kilometres along the roads, whatever the direction."""


def build_synthetic(
    folder: Path, seed: int = 0, num_sensors: int = 24, split: tuple[int, int, int] = (10, 2, 2)
) -> Dataset:
    """Write synthetic traffic to ``folder`` and open it; the same arguments give the same values.

    Raises:
        FileExistsError: the folder exists and is not empty.
    """
    rng = np.random.default_rng(seed)
    network = make_network(rng, num_sensors)
    speeds = simulate_speeds(rng, network, sum(split))
    fields = {
        "unit": "mph",
        "interval_minutes": INTERVAL_MINUTES,
        "day_kind": "weekdays",
        "split": split,
        "sensor_ids": network.ids,
        "graph": "distances along roads, sigma^2 = 10 km^2, epsilon = 0.5",
        "sources": {},
        "settings": {"seed": seed, "num_sensors": num_sensors},
    }
    adjacency = gaussian_adjacency(network.distances).astype(np.float32)
    save_dataset(folder, fields, speeds, adjacency)
    return open_dataset(folder)


def make_network(rng: np.random.Generator, num_sensors: int) -> RoadNetwork:
    """Lay out about ``num_sensors / 6`` roads.

    The first two are the directions of one freeway; each later one merges into the middle of the
    road two before it.
    """
    if num_sensors < 4:
        raise ConfigError(f"synthetic traffic needs at least 4 sensors, got {num_sensors}")
    count = max(2, num_sensors // SENSORS_PER_ROAD)
    roads = [road.tolist() for road in np.array_split(np.arange(num_sensors), count)]
    downstream = np.full(num_sensors, -1)
    for index, road in enumerate(roads):
        downstream[road[:-1]] = road[1:]
        if index >= 2:
            trunk = roads[index - 2]
            downstream[road[-1]] = trunk[len(trunk) // 2]
    gap = rng.uniform(0.7, 1.8, num_sensors).round(2)
    links = np.full((num_sensors, num_sensors), np.inf)
    joined = np.flatnonzero(downstream >= 0)
    links[joined, downstream[joined]] = gap[joined]
    links[roads[0][-1], roads[1][0]] = INTERCHANGE_KILOMETRES
    ids = tuple(
        f"{_road_name(index)}{place + 1}"
        for index, road in enumerate(roads)
        for place in range(len(road))
    )
    return RoadNetwork(ids, tuple(downstream.tolist()), gap, _shortest_paths(links))


def simulate_speeds(
    rng: np.random.Generator, network: RoadNetwork, days: int
) -> NDArray[np.float32]:
    """Return speeds in mph [days * 288, N], NaN where a reading was lost."""
    sources = _rush_hours(rng, network, days) + _incidents(rng, network, days)
    congestion = _spread_upstream(network, np.minimum(sources, 0.9))
    free_flow = rng.uniform(62.0, 69.0, len(network.ids)) * rng.normal(1.0, 0.01, (days, 1, 1))
    steps = congestion.reshape(days, -1, INTERVAL_MINUTES, len(network.ids)).mean(axis=2)
    speeds = free_flow * (1.0 - steps)
    # Congested speeds are also the more erratic ones.
    speeds += rng.normal(0.0, 1.0, speeds.shape) * (0.7 + 1.5 * steps)
    rounded = np.maximum(speeds, 3.0).round(1).reshape(-1, len(network.ids))
    rounded[_lost(rng, rounded.shape)] = np.nan
    speeds_mph: NDArray[np.float32] = rounded.astype(np.float32)
    return speeds_mph


def _rush_hours(rng: np.random.Generator, network: RoadNetwork, days: int) -> Array:
    """Return the rush-hour congestion arising at each sensor, [days, 1440 minutes, N] in 0..1."""
    minutes = np.arange(DAY_MINUTES)
    sources = np.zeros((days, DAY_MINUTES, len(network.ids)))
    for number, sensor in enumerate(_bottlenecks(network)):
        inbound = number % 2 == 0
        for centre, strength in ((465, 0.65 if inbound else 0.3), (1050, 0.35 if inbound else 0.7)):
            begin = centre + rng.normal(0, 20, (days, 1)) - rng.uniform(50, 80, (days, 1))
            end = begin + rng.uniform(110, 180, (days, 1))
            rise = 1 / (1 + np.exp(-(minutes - begin) / 6))
            fall = 1 / (1 + np.exp((minutes - end) / 10))
            level = strength * rng.uniform(0.7, 1.25, (days, 1))
            waves = np.clip(1.0 + _slow_noise(rng, days, spread=0.35), 0.25, 1.6)
            sources[:, :, sensor] += level * rise * fall * waves
    return sources


def _incidents(rng: np.random.Generator, network: RoadNetwork, days: int) -> Array:
    """Return the congestion of accidents in the same form, about one a day for six sensors."""
    count = len(network.ids)
    sources = np.zeros((days, DAY_MINUTES, count))
    for day in range(days):
        for _ in range(rng.poisson(count / SENSORS_PER_ROAD)):
            begin = int(rng.integers(6 * 60, 21 * 60))
            length, sensor = int(rng.integers(20, 60)), int(rng.integers(count))
            sources[day, begin : begin + length, sensor] += rng.uniform(0.4, 0.85)
    return sources


def _spread_upstream(network: RoadNetwork, sources: Array) -> Array:
    """Return congestion [days, minutes, N]: a sensor's own, or downstream's as it arrives."""
    congestion = sources.copy()
    minutes = np.arange(DAY_MINUTES)
    for sensor in _from_downstream(network):
        after = network.downstream[sensor]
        if after < 0:
            continue
        delay = max(1, round(float(network.gap[sensor]) / WAVE_KILOMETRES_PER_MINUTE))
        fading = np.exp(-network.gap[sensor] / FADING_KILOMETRES)
        arriving = np.where(minutes < delay, 0.0, np.roll(congestion[:, :, after], delay, axis=1))
        congestion[:, :, sensor] = np.maximum(congestion[:, :, sensor], fading * arriving)
    return congestion


def _bottlenecks(network: RoadNetwork) -> list[int]:
    """Return the last sensor of each road."""
    roads = [name.rstrip("0123456789") for name in network.ids]
    return [index for index, road in enumerate(roads) if road not in roads[index + 1 :]]


def _from_downstream(network: RoadNetwork) -> list[int]:
    """Return the sensors ordered so that each follows the one downstream of it."""

    def hops(sensor: int) -> int:
        after = network.downstream[sensor]
        return 0 if after < 0 else 1 + hops(after)

    return sorted(range(len(network.ids)), key=hops)


def _slow_noise(rng: np.random.Generator, days: int, spread: float) -> Array:
    """Return noise [days, 1440] of mean 0, correlated over about a quarter of an hour."""
    knots = rng.normal(0.0, spread, (days, DAY_MINUTES // 12 + 1))
    place = np.arange(DAY_MINUTES) / 12
    left, share = place.astype(int), place % 1
    return (1 - share) * knots[:, left] + share * knots[:, left + 1]


def _lost(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which readings [T, N] are gaps: single ones, and runs of up to an hour."""
    lost = rng.random(shape) < MISSING_SINGLE
    for row, sensor in np.argwhere(rng.random(shape) < MISSING_RUNS):
        lost[row : row + rng.integers(2, 13), sensor] = True
    return lost


def _shortest_paths(links: Array) -> Array:
    """Return all-pairs distances over ``links`` [N, N], used in both directions."""
    paths = np.minimum(links, links.T)
    np.fill_diagonal(paths, 0.0)
    for via in range(len(paths)):
        paths = np.minimum(paths, paths[:, via, None] + paths[None, via, :])
    return paths


def _road_name(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"R{index}_"
