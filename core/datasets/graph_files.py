"""A user's road graph file in, the adjacency [N, N] out.

One of a distance matrix, an edge list (from, to, cost) or a ready adjacency, all CSV. Distances
become weights through the Gaussian kernel of ``core.graph``. Graphs are undirected.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.datasets.tables import Table, is_counting, read_csv
from core.errors import ConfigError, DatasetError, ShapeError
from core.graph import gaussian_adjacency

KILOMETRES = {"metres": 0.001, "kilometres": 1.0, "miles": 1.609344}
"""Unit of distance -> kilometres."""

Matrix = NDArray[np.float64]
_HIGHEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class GraphSource:
    """Where the road graph lies and how to read it."""

    distances: Path | None = None
    """A matrix [N, N] of distances."""
    edges: Path | None = None
    """Rows ``from,to,cost``: the distance between two sensors, by position from 0 or by id."""
    adjacency: Path | None = None
    """A matrix [N, N] of weights, taken as it is; its diagonal is set to zero."""
    distance_unit: str = "metres"
    """Of distances and costs: ``metres``, ``kilometres`` or ``miles``."""
    zero_distance: str = "colocated"
    """What a zero between two sensors means: ``colocated``, or ``unconnected`` (no road)."""
    sigma_squared: float = 10.0
    """Width of the Gaussian kernel, square kilometres."""
    epsilon: float = 0.5
    """Weights below this become zero."""

    def __post_init__(self) -> None:
        """Check that there is one graph, and that its settings are known."""
        given = [path for path in (self.distances, self.edges, self.adjacency) if path is not None]
        if len(given) != 1:
            raise ConfigError(
                "a dataset needs exactly one of --distances, --edges and --adjacency, got "
                f"{len(given)}; give one"
            )
        if self.distance_unit not in KILOMETRES:
            raise ConfigError(
                "distances must be in metres, kilometres or miles, got "
                f"{self.distance_unit!r}; convert them"
            )
        if self.zero_distance not in {"colocated", "unconnected"}:
            raise ConfigError(
                "a zero distance must mean colocated or unconnected, got "
                f"{self.zero_distance!r}; choose one"
            )
        if not self.sigma_squared > 0 or not 0 <= self.epsilon <= 1:
            raise ConfigError(
                "sigma-squared must be positive and epsilon between 0 and 1, got "
                f"{self.sigma_squared} and {self.epsilon}; the usual values are 10 and 0.5"
            )

    @property
    def graph_path(self) -> Path:
        """The one file given."""
        return next(path for path in (self.distances, self.edges, self.adjacency) if path)

    def describe(self) -> str:
        """Return how the adjacency comes about."""
        if self.adjacency is not None:
            return "adjacency as given, diagonal set to zero"
        kind = "distances" if self.distances is not None else "edges"
        return (
            f"{kind} in {self.distance_unit}, zero = {self.zero_distance}, "
            f"sigma^2 = {self.sigma_squared:g} km^2, epsilon = {self.epsilon:g}"
        )


def read_adjacency(
    source: GraphSource, num_sensors: int, sensor_ids: tuple[str, ...] | None
) -> NDArray[np.float32]:
    """Read the graph of ``num_sensors`` sensors, in the order of the readings.

    Returns:
        [N, N], symmetric, not negative, zero diagonal.

    Raises:
        DatasetError: unreadable, of another size, negative or asymmetric, or of unknown sensors.
    """
    if source.adjacency is not None:
        weights = _square(source.adjacency, num_sensors, sensor_ids)
        _check_symmetric(source.adjacency, "weights", weights)
        _check_range(source.adjacency, "weights", weights, highest=_HIGHEST)
        np.fill_diagonal(weights, 0.0)
        return weights.astype(np.float32)
    if source.distances is not None:
        distances = _distance_matrix(source.distances, num_sensors, sensor_ids)
    else:
        distances = _edge_distances(source.graph_path, num_sensors, sensor_ids)
    if source.zero_distance == "unconnected":
        distances[distances == 0] = np.inf
    kilometres = distances * KILOMETRES[source.distance_unit]
    return gaussian_adjacency(kilometres, source.sigma_squared, source.epsilon).astype(np.float32)


def _distance_matrix(path: Path, num_sensors: int, ids: tuple[str, ...] | None) -> Matrix:
    distances = _square(path, num_sensors, ids)
    _check_range(path, "distances", distances, highest=np.inf)
    _check_symmetric(path, "distances", distances)
    if np.diagonal(distances).any():
        raise DatasetError(
            f"a sensor must be at distance 0 from itself, but the diagonal of {path} is not zero; "
            "give weights of an adjacency with --adjacency"
        )
    return distances


def _square(path: Path, num_sensors: int, ids: tuple[str, ...] | None) -> Matrix:
    """Return a matrix [N, N], its rows and columns in the order of the readings."""
    table = read_csv(path, "no")
    # A matrix has a row more than columns when it opens with a header, and a corner without
    # content when each row opens with an id too.
    headed = len(table.cells) == table.cells.shape[1] + 1
    cornered = len(table.cells) == table.cells.shape[1] and table.cells.iloc[:1, :1].isna().all(
        axis=None
    )
    if headed or cornered:
        table = read_csv(path, "yes")
    columns = range(int(cornered), table.cells.shape[1])
    if len(table.cells) != num_sensors or len(columns) != num_sensors:
        raise ShapeError(
            f"the graph must join the {num_sensors} sensors of the readings, but {path} holds a "
            f"matrix of shape [{len(table.cells)}, {len(columns)}]; give the graph of these sensors"
        )
    matrix = table.numbers(columns)
    order = _order(table, columns, ids)
    return matrix[np.ix_(order, order)]


def _order(table: Table, columns: range, ids: tuple[str, ...] | None) -> list[int]:
    labels = [table.labels[column] for column in columns] if table.labels else None
    if labels is None or ids is None or is_counting(labels):
        return list(range(len(columns)))
    strangers = sorted(set(labels) ^ set(ids))
    if strangers:
        raise DatasetError(
            f"the header of {table.path} must name the sensors of the readings, but "
            f"{strangers[0]!r} is in one of the two only; correct it or leave the header out"
        )
    return [labels.index(sensor) for sensor in ids]


def _check_range(path: Path, what: str, matrix: Matrix, highest: float) -> None:
    wrong = np.argwhere(~((matrix >= 0) & (matrix <= highest)))
    if len(wrong):
        row, column = wrong[0]
        raise DatasetError(
            f"{what} must be zero or positive numbers, but {path} has {matrix[row, column]:g} "
            f"between sensors {row} and {column} (from 0); correct it"
        )


def _check_symmetric(path: Path, what: str, matrix: Matrix) -> None:
    wrong = np.argwhere(~np.isclose(matrix, matrix.T, rtol=1e-6, atol=0.0, equal_nan=True))
    if len(wrong):
        row, column = wrong[0]
        raise DatasetError(
            f"{what} must be the same both ways, but {path} has {matrix[row, column]:g} from "
            f"sensor {row} to {column} and {matrix[column, row]:g} back (from 0); "
            "average the two, or keep the smaller"
        )


def _edge_distances(path: Path, num_sensors: int, ids: tuple[str, ...] | None) -> Matrix:
    """Return distances [N, N], infinite between sensors that no edge joins."""
    table = read_csv(path, text_columns=2)
    if table.cells.shape[1] != 3:
        raise DatasetError(
            f"an edge list must have the columns from, to and cost, but {path} has "
            f"{table.cells.shape[1]} columns; keep these three"
        )
    ends = _positions(table, num_sensors, ids)
    costs = table.numbers([2])[:, 0]
    distances = np.full((num_sensors, num_sensors), np.inf)
    np.fill_diagonal(distances, 0.0)
    seen: dict[tuple[int, int], float] = {}
    for row, (start, stop) in enumerate(ends):
        cost = float(costs[row])
        if not 0 <= cost < np.inf:
            raise DatasetError(
                f"a cost must be zero or positive, but {table.place(row, 2)} has {cost:g}; "
                "correct it"
            )
        pair = (min(start, stop), max(start, stop))
        if seen.setdefault(pair, cost) != cost:
            raise DatasetError(
                f"two sensors must have one cost, but {path} row {row + table.first_row} gives "
                f"{cost:g} where an earlier row has {seen[pair]:g}; keep one of them"
            )
        if start != stop:
            distances[start, stop] = distances[stop, start] = cost
    return distances


def _positions(table: Table, num_sensors: int, ids: tuple[str, ...] | None) -> list[list[int]]:
    names = table.cells.iloc[:, :2].astype(str).to_numpy(dtype=str)
    by_id = {sensor: index for index, sensor in enumerate(ids or ())}
    by_position = {str(index): index for index in range(num_sensors)}
    known = by_id if by_id and all(name in by_id for name in names.flat) else by_position
    for row, column in np.argwhere(~np.isin(names, list(known))):
        raise DatasetError(
            f"an edge must join two of the {num_sensors} sensors by position from 0 or by id, but "
            f"{table.place(int(row), int(column))} names {str(names[row, column])!r}; correct it"
        )
    return [[known[start], known[stop]] for start, stop in names]
