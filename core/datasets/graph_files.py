"""Read a user's road graph file as an adjacency [N, N].

The file is one of a distance matrix, an edge list (from, to, cost) or an adjacency, all CSV; an
adjacency may also be a pickle such as METR-LA and PEMS-BAY publish (sensor ids, id -> position,
weights). Distances become weights through the Gaussian kernel of ``core.graph``. Does not keep
directions: graphs are undirected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.datasets.plain_pickles import PickledArray, read_plain_pickle
from core.datasets.tables import Table, is_counting, read_csv
from core.errors import ConfigError, DatasetError, ShapeError
from core.graph import gaussian_adjacency

KILOMETRES = {"metres": 0.001, "kilometres": 1.0, "miles": 1.609344}
"""Unit of distance -> kilometres."""

Matrix = NDArray[np.float64]
_HIGHEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class GraphSource:
    """The file of the road graph and how to read it."""

    distances: Path | None = field(
        default=None, metadata={"help": "CSV matrix of distances between sensors."}
    )
    edges: Path | None = field(
        default=None,
        metadata={"help": "CSV of from,to,cost: positions from 0, or sensor ids."},
    )
    adjacency: Path | None = field(
        default=None,
        metadata={"help": "CSV or pickled matrix of weights, used as it is."},
    )
    """Its diagonal is set to zero."""
    distance_unit: str = field(
        default="metres",
        metadata={"help": "Of distances and costs.", "metavar": "|".join(KILOMETRES)},
    )
    zero_distance: str = field(
        default="colocated",
        metadata={
            "help": "What distance 0 between two means.",
            "metavar": "colocated|unconnected",
        },
    )
    asymmetric: str = field(
        default="refused",
        metadata={
            "help": "Where two directions differ: refused, or the nearer counts.",
            "metavar": "refused|nearer",
        },
    )
    """The nearer is less far, or has more weight."""
    sigma_squared: float = field(
        default=10.0, metadata={"help": "Width of the Gaussian kernel, square kilometres."}
    )
    epsilon: float = field(default=0.5, metadata={"help": "Weights below this become zero."})

    def __post_init__(self) -> None:
        """Check that exactly one graph is given and that its settings are valid."""
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
        if self.asymmetric not in {"refused", "nearer"}:
            raise ConfigError(
                "what differs by direction must be refused or become the nearer, got "
                f"{self.asymmetric!r}; choose one"
            )
        if not self.sigma_squared > 0 or not 0 <= self.epsilon <= 1:
            raise ConfigError(
                "sigma-squared must be positive and epsilon between 0 and 1, got "
                f"{self.sigma_squared} and {self.epsilon}; the usual values are 10 and 0.5"
            )

    @property
    def graph_path(self) -> Path:
        """The file of the graph."""
        return next(path for path in (self.distances, self.edges, self.adjacency) if path)

    def describe(self) -> str:
        """Return how the adjacency is computed, for the card."""
        nearer = ", the nearer of two directions" if self.asymmetric == "nearer" else ""
        if self.adjacency is not None:
            return f"adjacency as given, diagonal set to zero{nearer}"
        kind = "distances" if self.distances is not None else "edges"
        return (
            f"{kind} in {self.distance_unit}, zero = {self.zero_distance}, "
            f"sigma^2 = {self.sigma_squared:g} km^2, epsilon = {self.epsilon:g}{nearer}"
        )


def read_adjacency(
    source: GraphSource, num_sensors: int, sensor_ids: tuple[str, ...] | None
) -> NDArray[np.float32]:
    """Read the graph of ``num_sensors`` sensors, in the order of the readings.

    Returns:
        [N, N], symmetric, non-negative, zero diagonal.

    Raises:
        DatasetError: unreadable, of another size, negative or asymmetric, or of unknown sensors.
    """
    if source.adjacency is not None:
        weights = _square(source.adjacency, num_sensors, sensor_ids)
        if source.asymmetric == "nearer":
            weights = np.maximum(weights, weights.T)
        _check_symmetric(source.adjacency, "weights", weights)
        _check_range(source.adjacency, "weights", weights, highest=_HIGHEST)
        np.fill_diagonal(weights, 0.0)
        return weights.astype(np.float32)
    if source.distances is not None:
        distances = _distance_matrix(source.distances, source, num_sensors, sensor_ids)
    else:
        distances = _edge_distances(source.graph_path, source, num_sensors, sensor_ids)
    if source.zero_distance == "unconnected":
        distances[distances == 0] = np.inf
    kilometres = distances * KILOMETRES[source.distance_unit]
    return gaussian_adjacency(kilometres, source.sigma_squared, source.epsilon).astype(np.float32)


def _distance_matrix(
    path: Path, source: GraphSource, num_sensors: int, ids: tuple[str, ...] | None
) -> Matrix:
    distances = _square(path, num_sensors, ids)
    if source.asymmetric == "nearer":
        distances = np.minimum(distances, distances.T)
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
    matrix, labels = (_pickled if path.suffix == ".pkl" else _tabled)(path)
    if matrix.shape != (num_sensors, num_sensors):
        raise ShapeError(
            f"the graph must join the {num_sensors} sensors of the readings, but {path} holds a "
            f"matrix of shape {list(matrix.shape)}; give the graph of these sensors"
        )
    order = _order(path, labels, ids) if labels and ids else range(num_sensors)
    return matrix[np.ix_(order, order)]


def _pickled(path: Path) -> tuple[Matrix, Sequence[str] | None]:
    """Return a pickled matrix of weights and the ids of its sensors, if it has some."""
    content = read_plain_pickle(path)
    parts = content if isinstance(content, list | tuple) else [content]
    arrays = [part.values for part in parts if isinstance(part, PickledArray)]
    if len(arrays) != 1 or arrays[0] is None or arrays[0].ndim != 2:
        raise DatasetError(
            f"a pickled graph must be one matrix of weights, alone or after sensor ids and their "
            f"positions, but {path} is not; give a CSV matrix"
        )
    ids = parts[0] if isinstance(parts[0], list | tuple) else None
    return arrays[0].astype(np.float64), None if ids is None else [str(sensor) for sensor in ids]


def _tabled(path: Path) -> tuple[Matrix, Sequence[str] | None]:
    """Return a CSV matrix and the labels of its columns, if it has a header."""
    table = read_csv(path, "no")
    # A matrix with a header has one row more than columns; if each row starts with an id too, it
    # has an empty corner.
    headed = len(table.cells) == table.cells.shape[1] + 1
    cornered = len(table.cells) == table.cells.shape[1] and table.cells.iloc[:1, :1].isna().all(
        axis=None
    )
    if headed or cornered:
        table = read_csv(path, "yes")
    columns = range(int(cornered), table.cells.shape[1])
    labels = [table.labels[column] for column in columns] if table.labels else None
    # Numbers 0, 1, 2, … are positions, whatever the ids of the readings' sensors.
    return table.numbers(columns), None if labels and is_counting(labels) else labels


def _order(path: Path, labels: Sequence[str], ids: tuple[str, ...]) -> list[int]:
    unmatched = sorted(set(labels) ^ set(ids))
    if unmatched:
        raise DatasetError(
            f"{path} must name the sensors of the readings, but {unmatched[0]!r} is in one of the "
            "two only; correct it, or leave the names out"
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
            "say --asymmetric nearer, or correct it"
        )


def _edge_distances(
    path: Path, source: GraphSource, num_sensors: int, ids: tuple[str, ...] | None
) -> Matrix:
    """Return distances [N, N], infinite between sensors without an edge."""
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
        if source.asymmetric == "nearer":
            cost = seen[pair] = min(cost, seen.get(pair, cost))
        elif seen.setdefault(pair, cost) != cost:
            raise DatasetError(
                f"two sensors must have one cost, but {path} row {row + table.first_row} gives "
                f"{cost:g} where an earlier row has {seen[pair]:g}; keep one, or say "
                "--asymmetric nearer"
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
