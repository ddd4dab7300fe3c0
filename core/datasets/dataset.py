"""Write and open dataset folders: a JSON card and two Arrow files.

    NAME/card.json        shape, unit, days, split, gaps, graph, sources
    NAME/readings.arrow   one column ``readings``: a fixed-size list of N float32 per row, NaN = gap
    NAME/graph.arrow      one column ``adjacency``: likewise [N, N], zero diagonal

Both Arrow files are uncompressed, so opening them maps them into memory without copying: trials of
one machine share the pages. Does not interpolate or scale (``core.preprocessing``).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.datasets.sensor_places import SensorPlace, places_of
from core.errors import DatasetError, UnknownNameError
from core.files import check_name, fingerprint, folder_written_aside, sha256_of_file, write_json

DayKind = Literal["weekdays", "consecutive"]
Readings = NDArray[np.float32]
CARD_FILE = "card.json"
"""A folder with this file is a dataset."""
CARD_VERSION = 1
_AGAIN = "delete the folder and import it again"


def check_days(interval_minutes: int, day_kind: str, split: tuple[int, ...]) -> None:
    """Raise ``DatasetError`` unless interval, kind of days and split are valid."""
    if interval_minutes < 1 or 1440 % interval_minutes:
        raise DatasetError(
            f"the interval must divide a day of 1440 minutes, got {interval_minutes}; "
            "give the minutes between two rows"
        )
    if day_kind not in get_args(DayKind):
        raise DatasetError(f"days must be weekdays or consecutive, got {day_kind!r}; choose one")
    if len(split) != 3 or min(split) < 1:
        raise DatasetError(
            "a split needs three parts of at least one day each, got "
            f"{'/'.join(map(str, split))}; write it as 22/4/4"
        )


@dataclass(frozen=True)
class DatasetCard:
    """The description of a dataset, written at import; only places may be added later."""

    name: str
    unit: str
    """Unit of the readings, e.g. ``mph``."""
    interval_minutes: int
    day_kind: DayKind
    """``weekdays``: days need not be consecutive, so no window crosses a midnight."""
    split: tuple[int, int, int]
    """Days for training, validation and test, in this order from the first row on."""
    num_steps: int
    sensor_ids: tuple[str, ...]
    missing_share: float
    minimum: float
    maximum: float
    mean: float
    graph: str
    """How the adjacency was computed, e.g. ``distances in metres, sigma^2 = 10 km^2``."""
    edges: int
    """Off-diagonal entries of the adjacency that are not zero."""
    sources: dict[str, str]
    """File name -> SHA-256 of the imported files."""
    files: dict[str, str]
    """File name -> SHA-256 of the two Arrow files beside this card."""

    settings: dict[str, Any] = field(default_factory=dict)
    """How the sources were read, e.g. which channel; the seed of synthetic readings."""
    notes: tuple[str, ...] = ()
    """What was found out while they were read, e.g. the dialect of a CSV file."""
    places: tuple[SensorPlace, ...] = ()
    """Names and coordinates, one per sensor; empty where nothing is known."""

    def __post_init__(self) -> None:
        """Check that days, split and rows fit together."""
        check_days(self.interval_minutes, self.day_kind, self.split)
        if len(self.places) not in {0, self.num_sensors}:
            raise DatasetError(
                f"a dataset must know the places of all {self.num_sensors} sensors or of none, got "
                f"{len(self.places)}; {_AGAIN}"
            )
        if sum(self.split) * self.steps_per_day != self.num_steps:
            raise DatasetError(
                f"split {self.split_text} needs {sum(self.split)} days of {self.steps_per_day} "
                f"rows, got {self.num_steps} rows = {self.num_steps / self.steps_per_day:g} days; "
                "change --split or --interval"
            )

    @property
    def steps_per_day(self) -> int:
        """Rows of one day."""
        return 1440 // self.interval_minutes

    @property
    def num_sensors(self) -> int:
        """Number of sensors N."""
        return len(self.sensor_ids)

    @property
    def places_known(self) -> bool:
        """Whether a map can be drawn: every sensor has coordinates."""
        return bool(self.places) and all(place.known for place in self.places)

    @property
    def split_text(self) -> str:
        """The split as a user types it: ``22/4/4``."""
        return "/".join(map(str, self.split))


@dataclass(frozen=True)
class Dataset:
    """Readings and graph, mapped read-only from the disk."""

    card: DatasetCard
    readings: Readings
    """[num_steps, N] in the card's unit, NaN where nothing was measured."""
    adjacency: NDArray[np.float32]
    """[N, N], zero diagonal."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything that training depends on: values, graph, days and split."""
        card = self.card
        return fingerprint([card.files, card.interval_minutes, card.day_kind, card.split])


def save_dataset(
    folder: Path, card_fields: dict[str, Any], readings: Readings, adjacency: NDArray[np.float32]
) -> DatasetCard:
    """Write a dataset folder, complete or not at all.

    Args:
        folder: its path; the last part is the dataset's name.
        card_fields: the card's fields, except those computed here from the readings.
        readings: [T, N].
        adjacency: [N, N].

    Raises:
        FileExistsError: the folder exists and is not empty; datasets are never replaced.
    """
    with folder_written_aside(folder, replace=False) as aside:
        _write_matrix(aside / "readings.arrow", "readings", readings)
        _write_matrix(aside / "graph.arrow", "adjacency", adjacency)
        card = DatasetCard(
            name=folder.name,
            num_steps=len(readings),
            missing_share=float(np.isnan(readings).mean()),
            minimum=float(np.nanmin(readings)),
            maximum=float(np.nanmax(readings)),
            mean=float(np.nanmean(readings, dtype=np.float64)),
            edges=int(np.count_nonzero(adjacency)),
            files={
                name: sha256_of_file(aside / name) for name in ("readings.arrow", "graph.arrow")
            },
            **card_fields,
        )
        write_card(aside, card)
    return card


def write_card(folder: Path, card: DatasetCard) -> None:
    """Write the card of the dataset in ``folder``."""
    write_json(folder / CARD_FILE, {"version": CARD_VERSION, **asdict(card)})


def open_dataset(folder: Path) -> Dataset:
    """Map the dataset in ``folder`` into memory.

    Raises:
        DatasetError: the card is unreadable, of another version, or does not fit its files.
    """
    card = read_card(folder)
    readings = _map_matrix(folder / "readings.arrow", "readings")
    adjacency = _map_matrix(folder / "graph.arrow", "adjacency")
    if readings.shape != (card.num_steps, card.num_sensors):
        raise DatasetError(
            f"{folder} holds readings of shape {list(readings.shape)}, but its card says "
            f"[{card.num_steps}, {card.num_sensors}]; {_AGAIN}"
        )
    return Dataset(card, readings, adjacency)


def read_card(folder: Path) -> DatasetCard:
    """Read and check the card of the dataset in ``folder``."""
    try:
        fields = json.loads((folder / CARD_FILE).read_text())
        if fields.pop("version") != CARD_VERSION:
            raise DatasetError(f"{folder} was written by another version; {_AGAIN}")
        fields["split"] = tuple(fields["split"])
        fields["sensor_ids"] = tuple(fields["sensor_ids"])
        fields["notes"] = tuple(fields.get("notes", ()))
        fields["places"] = places_of(fields.get("places", ()))
        return DatasetCard(**fields)
    except (
        OSError,
        KeyError,
        TypeError,
        AttributeError,
        UnicodeError,
        json.JSONDecodeError,
    ) as error:
        raise DatasetError(
            f"{folder}/card.json must be a dataset card: {error}; {_AGAIN}"
        ) from error


def dataset_names(data_folder: Path) -> list[str]:
    """Return the names of the datasets below ``data_folder``."""
    return sorted(card.parent.name for card in data_folder.glob(f"[!.]*/{CARD_FILE}"))


def find_dataset(data_folder: Path, name: str) -> Path:
    """Return the folder of dataset ``name``, or raise with the nearest known name."""
    folder = data_folder / check_name("dataset", name)
    if not (folder / CARD_FILE).is_file():
        raise UnknownNameError("dataset", name, {*dataset_names(data_folder), "synthetic"})
    return folder


def _write_matrix(path: Path, column: str, matrix: NDArray[np.float32]) -> None:
    values = pa.array(np.ascontiguousarray(matrix, dtype=np.float32).reshape(-1))
    table = pa.table({column: pa.FixedSizeListArray.from_arrays(values, matrix.shape[1])})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        # One batch, so that reading maps the whole matrix as one piece.
        writer.write_table(table.combine_chunks(), max_chunksize=len(matrix))


def _map_matrix(path: Path, column: str) -> NDArray[np.float32]:
    try:
        rows = pa.ipc.open_file(pa.memory_map(str(path))).read_all().column(column).chunk(0)
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise DatasetError(
            f"{path} must be an Arrow file with a column {column!r}: {error}; {_AGAIN}"
        ) from error
    matrix: NDArray[np.float32] = rows.flatten().to_numpy(zero_copy_only=True)
    return matrix.reshape(len(rows), rows.type.list_size)
