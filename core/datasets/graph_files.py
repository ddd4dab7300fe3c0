"""Read a user's road graph file as an adjacency [N, N].

The file is one of a distance matrix, an edge list (from, to, cost) or an adjacency, all CSV; an
adjacency may also be a pickle such as METR-LA and PEMS-BAY publish (sensor ids, id -> position,
weights). Distances become weights through the Gaussian kernel of ``core.graph``. Does not keep
directions: graphs are undirected.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.datasets.formats.csv_files import read_csv
from core.datasets.formats.plain_pickles import PickledArray, read_plain_pickle
from core.datasets.formats.sensor_ids import are_positions, count_from_one, suggestion
from core.datasets.formats.tables import Table, number_of
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
        metadata={"help": "CSV of from,to,cost: sensor ids, or positions from 0."},
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
    edge_columns: str = field(
        default="auto",
        metadata={
            "help": "What edges and labels of a matrix name: ids where readings have some.",
            "metavar": "auto|ids|positions",
        },
    )
    """Positions count from 0."""
    unknown_sensors: str = field(
        default="refused",
        metadata={
            "help": "A graph's sensors that the readings lack: refused, or left out.",
            "metavar": "refused|skip",
        },
    )
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
        if self.edge_columns not in {"auto", "ids", "positions"}:
            raise ConfigError(
                "--edge-columns must be auto, ids or positions, got "
                f"{self.edge_columns!r}; choose one"
            )
        if self.unknown_sensors not in {"refused", "skip"}:
            raise ConfigError(
                "--unknown-sensors must be refused or skip, got "
                f"{self.unknown_sensors!r}; choose one"
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
        # Only when set: older cards lack these, and must compare equal.
        nearer += "" if self.edge_columns == "auto" else f", by {self.edge_columns}"
        nearer += "" if self.unknown_sensors == "refused" else ", unknown sensors left out"
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
        ConfigError: ids are asked for, and the readings have none.
    """
    if source.edge_columns == "ids" and sensor_ids is None:
        raise ConfigError(
            "--edge-columns ids needs readings with ids, but these have none; give them a header"
        )
    ids = None if source.edge_columns == "positions" else sensor_ids
    if source.adjacency is not None:
        weights = _square(source.adjacency, source, num_sensors, ids)
        if source.asymmetric == "nearer":
            weights = np.maximum(weights, weights.T)
        _check_symmetric(source.adjacency, "weights", weights)
        _check_range(source.adjacency, "weights", weights, highest=_HIGHEST)
        np.fill_diagonal(weights, 0.0)
        return weights.astype(np.float32)
    if source.distances is not None:
        distances = _distance_matrix(source.distances, source, num_sensors, ids)
    else:
        distances = _edge_distances(source.graph_path, source, num_sensors, ids)
    if source.zero_distance == "unconnected":
        distances[distances == 0] = np.inf
    kilometres = distances * KILOMETRES[source.distance_unit]
    return gaussian_adjacency(kilometres, source.sigma_squared, source.epsilon).astype(np.float32)


def _distance_matrix(
    path: Path, source: GraphSource, num_sensors: int, ids: tuple[str, ...] | None
) -> Matrix:
    distances = _square(path, source, num_sensors, ids)
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


def _square(
    path: Path, source: GraphSource, num_sensors: int, ids: tuple[str, ...] | None
) -> Matrix:
    """Return a matrix [N, N], its rows and columns in the order of the readings."""
    matrix, labels = (_pickled if path.suffix == ".pkl" else _tabled)(path)
    if labels and len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise DatasetError(f"{path} must name each sensor once, but has {twice!r} twice; rename it")
    fits = (
        len(matrix) >= num_sensors
        if source.unknown_sensors == "skip" and labels and ids
        else (len(matrix) == num_sensors)
    )
    if matrix.shape[0] != matrix.shape[1] or not fits:
        raise ShapeError(
            f"the graph must join the {num_sensors} sensors of the readings, but {path} holds a "
            f"matrix of shape {list(matrix.shape)}; give the graph of these sensors"
        )
    # Pandas numbers columns that have no names; where no sensor is called so, that is no id.
    numbered = labels and are_positions(labels) and not set(labels) & set(ids or ())
    if labels and ids and not numbered:
        order = _order(path, labels, ids, source)
    else:
        order = _by_position(path, labels, num_sensors)
    return matrix[np.ix_(order, order)]


def _by_position(path: Path, labels: Sequence[str] | None, num_sensors: int) -> list[int]:
    """Return the order of a matrix's labels that are positions; others say nothing here."""
    names = list(map(str, range(num_sensors)))
    if labels and set(labels) == set(names):
        return [labels.index(name) for name in names]
    if labels and all(label.isdecimal() for label in labels) and count_from_one(labels):
        raise DatasetError(
            f"sensors without ids are named by positions from 0, but {path} counts them from 1; "
            "subtract 1 from its labels"
        )
    return list(range(num_sensors))


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
    rows, width = table.cells.shape
    cornered = rows == width > 1 and not str(table.cells.iloc[0, 0]).strip()
    if rows == width + 1 or cornered:
        table = read_csv(path, "yes")
    columns = range(int(cornered), width)
    labels = [table.labels[column] for column in columns] if table.labels else None
    if cornered and table.texts(0) != labels:
        at = next(
            at
            for at, pair in enumerate(zip(table.texts(0), labels or (), strict=True))
            if pair[0] != pair[1]
        )
        raise DatasetError(
            f"rows and columns of a matrix must name the same sensors in the same order, but "
            f"{table.place(at, 0)} is {table.texts(0)[at]!r} where the column is "
            f"{(labels or ())[at]!r}; reorder one of them"
        )
    return table.numbers(columns), labels


def _order(
    path: Path, labels: Sequence[str], ids: tuple[str, ...], source: GraphSource
) -> list[int]:
    unknown = [label for label in labels if label not in set(ids)]
    lacking = [sensor for sensor in ids if sensor not in set(labels)]
    refused = lacking + (unknown if source.unknown_sensors == "refused" else [])
    if refused:
        name = min(refused)
        there, others = ("graph", ids) if name in unknown else ("readings", labels)
        advice = "--unknown-sensors skip to leave such sensors out, or " if not lacking else ""
        raise DatasetError(
            f"{path} must name the sensors of the readings, but {name!r} is in one of the "
            f"two only, the {there}{suggestion(name, others)}; correct it, or say {advice}"
            "--edge-columns positions if the matrix has the order of the readings"
        )
    place = {label: index for index, label in enumerate(labels)}
    return [place[sensor] for sensor in ids]


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


def _edge_table(path: Path) -> Table:
    """Return the rows of an edge list; its first is a header where its cost is no number."""
    table = read_csv(path, "no")
    if table.cells.shape[1] == 3 and number_of(table.texts(2)[0], table.decimal) is None:
        table = read_csv(path, "yes")
    if not len(table.cells):
        raise DatasetError(
            f"an edge list must hold at least one edge, but {path} has none; give another file"
        )
    return table


def _edge_distances(
    path: Path, source: GraphSource, num_sensors: int, ids: tuple[str, ...] | None
) -> Matrix:
    """Return distances [N, N], infinite between sensors without an edge."""
    table = _edge_table(path)
    if table.cells.shape[1] != 3:
        raise DatasetError(
            f"an edge list must have the columns from, to and cost, but {path} has "
            f"{table.cells.shape[1]} columns; keep these three"
        )
    ends = _ends(table, source, num_sensors, ids)
    costs = table.numbers([2])[:, 0]
    distances = np.full((num_sensors, num_sensors), np.inf)
    np.fill_diagonal(distances, 0.0)
    seen: dict[tuple[int, int], float] = {}
    for row, (start, stop) in ends.items():
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
                f"two sensors must have one cost, but {path} row {table.rows[row]} gives "
                f"{cost:g} where an earlier row has {seen[pair]:g}; keep one, or say "
                "--asymmetric nearer"
            )
        if start != stop:
            distances[start, stop] = distances[stop, start] = cost
    return distances


def _ends(
    table: Table, source: GraphSource, num_sensors: int, ids: tuple[str, ...] | None
) -> dict[int, tuple[int, int]]:
    """Return the two sensors of each row's edge, without rows that are left out."""
    names = list(zip(table.texts(0), table.texts(1), strict=True))
    known = {name: at for at, name in enumerate(ids or map(str, range(num_sensors)))}
    if ids is None:
        _check_origin(table, source, known, names)
    ends: dict[int, tuple[int, int]] = {}
    for row, pair in enumerate(names):
        unknown = [column for column in (0, 1) if pair[column] not in known]
        if not unknown:
            ends[row] = (known[pair[0]], known[pair[1]])
        elif source.unknown_sensors == "refused":
            raise _unknown(table, row, unknown[0], pair[unknown[0]], ids, known)
    if names and not ends:
        raise _unknown(table, 0, 0, names[0][0], ids, known)
    return ends


def _check_origin(
    table: Table,
    source: GraphSource,
    known: Collection[str],
    names: list[tuple[str, str]],
) -> None:
    """Refuse edges that seem to count sensors from 1, where positions count from 0."""
    used = {name for pair in names for name in pair}
    if not count_from_one(used):
        return
    if source.edge_columns == "auto" or str(len(known)) in used:
        raise DatasetError(
            f"sensors without ids are named by positions from 0 to {len(known) - 1}, but the edges "
            f"of {table.path} start at 1; subtract 1 from both columns, or say --edge-columns "
            "positions if sensor 0 has no edge"
        )


def _unknown(
    table: Table, row: int, column: int, name: str, ids: Sequence[str] | None, known: Iterable[str]
) -> DatasetError:
    what = "id" if ids else "position from 0"
    advice = "correct it, or say --unknown-sensors skip to leave out such edges"
    if ids:
        advice += ", or --edge-columns positions if the columns hold positions from 0"
    return DatasetError(
        f"an edge must join two of the sensors of the readings by {what}, but "
        f"{table.place(row, column)} names {name!r}{suggestion(name, known)}; {advice}"
    )
