"""Import a user's readings and road graph as a dataset folder.

Reads and checks everything before it writes anything. ``readings_files`` and ``graph_files`` parse
the files; unusual values that break no rule are left to ``checking``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.datasets.dataset import (
    CARD_FILE,
    Dataset,
    Readings,
    check_days,
    open_dataset,
    read_card,
    save_dataset,
    write_card,
)
from core.datasets.formats.row_order import check_spacing
from core.datasets.graph_files import GraphSource, read_adjacency
from core.datasets.readings_files import (
    ReadingsSource,
    ReadingsTable,
    read_readings,
    without_empty_days,
)
from core.datasets.sensor_files import read_places
from core.datasets.synthetic import SYNTHETIC
from core.errors import ConfigError, DatasetError
from core.files import check_name, sha256_of_file, writable_folder


def read_split(text: str) -> tuple[int, int, int]:
    """Return the days for training, validation and test in a text such as ``22/4/4``.

    Raises:
        ConfigError: it is not three whole numbers.
    """
    try:
        train, validation, test = map(int, text.split("/"))
    except ValueError as error:
        raise ConfigError(
            f"--split must be days for training/validation/test such as 22/4/4, got {text!r}; "
            "give three whole numbers"
        ) from error
    return train, validation, test


@dataclass(frozen=True, kw_only=True)
class ImportRequest(ReadingsSource, GraphSource):
    """The files of a dataset and all settings of its import.

    Each field is also an option of ``hpo data import``; ``hpo.cli.settings_options`` says what its
    metadata may hold.
    """

    name: str
    interval_minutes: int = field(
        default=5, metadata={"help": "Minutes between two rows.", "flag": "--interval"}
    )
    day_kind: str = field(
        default="weekdays",
        metadata={
            "help": "Whether midnights separate days that may not be neighbours, or none does.",
            "metavar": "weekdays|consecutive",
            "flag": "--days",
        },
    )
    split: tuple[int, int, int] = field(
        default=(22, 4, 4),
        metadata={"help": "Days for training/validation/test.", "read": read_split},
    )
    unit: str = field(default="mph", metadata={"help": "Of the readings."})
    sensors: Path | None = field(
        default=None,
        metadata={"help": "CSV of the sensors' names and places: id, latitude, longitude, …"},
    )

    def __post_init__(self) -> None:
        """Check everything that can be checked without reading a file."""
        check_name("dataset", self.name)
        if self.name == SYNTHETIC:
            raise ConfigError(
                f"the name {SYNTHETIC!r} is taken by the built-in dataset; choose another"
            )
        check_days(self.interval_minutes, self.day_kind, self.split)
        ReadingsSource.__post_init__(self)
        GraphSource.__post_init__(self)

    @property
    def steps_per_day(self) -> int:
        """Rows of one day."""
        return 1440 // self.interval_minutes

    def card_fields(self) -> dict[str, Any]:
        """Return the fields of the card that follow from this request."""
        return {
            "unit": self.unit,
            "interval_minutes": self.interval_minutes,
            "day_kind": self.day_kind,
            "split": self.split,
            "graph": self.describe(),
            "sources": _sources(self.readings, self.graph_path),
            "settings": {
                "header": self.header,
                "time_column": self.time_column,
                "array": self.array,
                "channel": self.channel,
                "missing_value": self.missing_value,
                # Only when set: older cards lack it, and must compare equal.
                **({"fill_times": True} if self.fill_times else {}),
                **({"sort_times": True} if self.sort_times else {}),
                **({} if self.day_first is None else {"day_first": self.day_first}),
            },
        }


def import_dataset(data_folder: Path, request: ImportRequest) -> Dataset:
    """Import a user's files as the dataset ``data_folder / request.name``.

    If it exists already and was imported from the same files and settings, it is returned, with
    the places that the request has.

    Raises:
        DatasetError: the files break a rule, or the name belongs to another dataset.
        ConfigError: settings that do not fit the files.
        StorageError: ``data_folder`` cannot be written.
    """
    fields = request.card_fields()
    folder = data_folder / request.name
    if (folder / CARD_FILE).exists():
        return _existing(folder, fields, request.sensors)
    table = read_readings(request)
    if request.fill_times and request.day_kind == "weekdays":
        table = without_empty_days(table, request.steps_per_day)
    _check_days_of(table, request)
    _check_gaps(table.values, request.steps_per_day)
    _check_varying(table.values[: request.split[0] * request.steps_per_day])
    num_sensors = table.values.shape[1]
    adjacency = read_adjacency(request, num_sensors, table.sensor_ids)
    fields["notes"] = table.notes
    fields["sensor_ids"] = table.sensor_ids or tuple(map(str, range(num_sensors)))
    if request.sensors is not None:
        fields["places"] = read_places(request.sensors, fields["sensor_ids"])
    writable_folder(data_folder)
    try:
        save_dataset(folder, fields, table.values, adjacency)
    except FileExistsError:
        # Another process imported this name meanwhile, perhaps from the same files.
        return _existing(folder, fields, request.sensors)
    return open_dataset(folder)


def suggested_split(days: int) -> tuple[int, int, int]:
    """Return a split of ``days`` days that gives an eighth each to validation and test."""
    held_out = max(1, round(days / 8))
    return days - 2 * held_out, held_out, held_out


def _existing(folder: Path, fields: dict[str, Any], sensors: Path | None) -> Dataset:
    card = read_card(folder)
    fields.pop("places", None)
    differing = [name for name in fields if getattr(card, name) != fields[name]]
    if differing:
        raise DatasetError(
            f"the name {folder.name!r} belongs to a dataset with other {', '.join(differing)}; "
            f"choose another name, or delete {folder}"
        )
    if sensors is not None:
        write_card(folder, replace(card, places=read_places(sensors, card.sensor_ids)))
    return open_dataset(folder)


def _sources(*paths: Path) -> dict[str, str]:
    names = [path.name for path in paths]
    labels = names if len(set(names)) == len(names) else [str(path) for path in paths]
    return {label: _digest(path) for label, path in zip(labels, paths, strict=True)}


def _digest(path: Path) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise DatasetError(
            f"{path} must be a readable file, but: {error.strerror or error}; check the path"
        ) from error


def _check_days_of(table: ReadingsTable, request: ImportRequest) -> None:
    """Check that the rows are whole days, as many as the split needs, evenly spaced in time."""
    length = request.steps_per_day
    if table.times is not None:
        check_spacing(
            request.readings,
            table.times.to_numpy(dtype="datetime64[us]"),
            request.interval_minutes,
            length if request.day_kind == "weekdays" else None,
        )
    days, rest = divmod(len(table.values), length)
    if rest:
        raise DatasetError(
            f"readings must be whole days of {length} rows, but {request.readings} has "
            f"{len(table.values)} rows = {days} days and {rest} rows; leave out the rest, or "
            "check --interval and --header; where rows are missing, a --time-column and "
            "--fill-times make gaps of them"
        )
    if sum(request.split) != days:
        advice = (
            f"use --split {'/'.join(map(str, suggested_split(days)))}"
            if days >= 3
            else "at least 3 days are needed"
        )
        raise DatasetError(
            f"split {'/'.join(map(str, request.split))} needs {sum(request.split)} days, but "
            f"{request.readings} holds {days} days of {length} rows; {advice}"
        )


def _check_varying(training: Readings) -> None:
    """Refuse readings that a scaler cannot be fitted to: errors would have no scale."""
    if np.nanmin(training) == np.nanmax(training):
        raise DatasetError(
            f"readings must vary, but all those of the training days are {np.nanmin(training):g}; "
            "check the file, --channel and --array"
        )


def _check_gaps(readings: Readings, steps_per_day: int) -> None:
    present = ~np.isnan(readings)
    silent = np.flatnonzero(~present.any(axis=0))
    if len(silent):
        raise DatasetError(
            f"every sensor needs at least one reading, but column {silent[0] + 1} has none "
            f"({len(silent)} such columns); leave it out of readings and graph"
        )
    dark = np.flatnonzero(~present.reshape(-1, steps_per_day * readings.shape[1]).any(axis=1))
    if len(dark):
        raise DatasetError(
            f"every day needs at least one reading, but day {dark[0]} (from 0) has none "
            f"({len(dark)} such days); leave its rows out, and use --days weekdays"
        )
