"""Report what looks unusual about a dataset, as a list of findings in plain words.

Does not raise: the importer has already refused what breaks a rule. A warning deserves a look
before a sweep is launched; a note is for information.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from core.datasets.dataset import Dataset, DatasetCard, read_card
from core.files import sha256_of_file

STUCK_MINUTES = 120
"""A value that repeats for longer than this is reported."""
GAP_MINUTES = 120
"""Gaps longer than this are reported: interpolation over them is a guess."""
OUTLIER_STDS = 6.0
"""Readings further than this from their sensor's mean are reported."""
UNLIKE_SPREADS = 6.0
"""Days further than this from the median day, in units of the usual spread, are reported."""


@dataclass(frozen=True)
class Problem:
    """One finding."""

    severity: Literal["note", "warning"]
    text: str


def check_dataset(dataset: Dataset) -> list[Problem]:
    """Return what looks unusual about readings and graph, warnings first."""
    found = [problem for check in CHECKS for problem in check(dataset)]
    return sorted(found, key=lambda problem: problem.severity, reverse=True)


def check_files(folder: Path) -> list[Problem]:
    """Compare the Arrow files in a dataset's folder with the checksums on its card."""
    return [
        Problem("warning", f"{name} does not match the checksum on its card; import it again")
        for name, checksum in read_card(folder).files.items()
        if not (folder / name).is_file() or sha256_of_file(folder / name) != checksum
    ]


def _missing(dataset: Dataset) -> list[Problem]:
    missing = np.isnan(dataset.readings)
    if not missing.any():
        return []
    share, worst = missing.mean(), int(missing.mean(axis=0).argmax())
    text = (
        f"{share:.2%} of the readings are missing, most at sensor "
        f"{dataset.card.sensor_ids[worst]} ({missing[:, worst].mean():.1%})"
    )
    return [Problem("warning" if share > 0.1 else "note", text)]


def _long_gaps(dataset: Dataset) -> list[Problem]:
    steps = GAP_MINUTES // dataset.card.interval_minutes
    lengths, sensors = run_lengths(np.isnan(dataset.readings))
    long = lengths > steps
    if not long.any():
        return []
    text = (
        f"{long.sum()} gaps are longer than {GAP_MINUTES / 60:g} hours, the longest "
        f"{_hours(int(lengths.max()), dataset.card)}, at {_named(sensors[long], dataset.card)}"
    )
    return [Problem("warning", text)]


def _constant_sensors(dataset: Dataset) -> list[Problem]:
    constant = np.flatnonzero(
        np.nanmax(dataset.readings, axis=0) == np.nanmin(dataset.readings, axis=0)
    )
    if not len(constant):
        return []
    return [Problem("warning", f"never changing: {_named(constant, dataset.card)}")]


def _stuck_runs(dataset: Dataset) -> list[Problem]:
    steps = STUCK_MINUTES // dataset.card.interval_minutes
    # A run of k equal readings is k - 1 steps without change; NaN never equals NaN.
    lengths, sensors = run_lengths(dataset.readings[1:] == dataset.readings[:-1])
    stuck = lengths + 1 > steps
    if not stuck.any():
        return []
    share = (lengths[stuck] + 1).sum() / dataset.readings.size
    longest = _hours(int(lengths.max()) + 1, dataset.card)
    text = (
        f"{stuck.sum()} times a value repeats for more than {STUCK_MINUTES / 60:g} hours "
        f"({share:.2%} of the readings), the longest {longest}, at "
        f"{_named(sensors[stuck], dataset.card)}; perhaps filled in or a stuck detector"
    )
    return [Problem("warning" if share > 0.1 else "note", text)]


def _zeros(dataset: Dataset) -> list[Problem]:
    share = float((dataset.readings == 0).mean())
    if not share:
        return []
    text = (
        f"{share:.2%} of the readings are exactly 0; if 0 marks a gap, import with "
        "--missing-value 0"
    )
    return [Problem("warning" if share > 0.02 else "note", text)]


def _negative(dataset: Dataset) -> list[Problem]:
    share = float((dataset.readings < 0).mean())
    if not share:
        return []
    text = (
        f"{share:.2%} of the readings are below 0, the lowest {dataset.card.minimum:g} "
        f"{dataset.card.unit}; if that marks gaps, import with --missing-value"
    )
    return [Problem("warning", text)]


def _ended_sensors(dataset: Dataset) -> list[Problem]:
    """Report sensors without a reading in all days of one part of the split."""
    card, found = dataset.card, []
    ends = np.cumsum(card.split) * card.steps_per_day
    for part, stop, days in zip(("training", "validation", "test"), ends, card.split, strict=True):
        rows = dataset.readings[stop - days * card.steps_per_day : stop]
        silent = np.flatnonzero(np.isnan(rows).all(axis=0))
        if len(silent):
            text = f"without any reading on the {part} days: {_named(silent, card)}"
            found.append(Problem("warning", text))
    return found


def _outliers(dataset: Dataset) -> list[Problem]:
    values = dataset.readings.astype(np.float64)
    spread = np.nanstd(values, axis=0)
    distance = np.abs(values - np.nanmean(values, axis=0)) / np.where(spread > 0, spread, np.inf)
    far = np.argwhere(distance > OUTLIER_STDS)
    if not len(far):
        return []
    row, sensor = np.unravel_index(np.nanargmax(distance), distance.shape)
    day = row // dataset.card.steps_per_day
    text = (
        f"readings more than {OUTLIER_STDS:g} standard deviations from their "
        f"sensor's mean: {len(far)}, the furthest {values[row, sensor]:g} {dataset.card.unit} "
        f"at sensor {dataset.card.sensor_ids[sensor]} on day {day} (from 0)"
    )
    return [Problem("note", text)]


def _unlike_days(dataset: Dataset) -> list[Problem]:
    card = dataset.card
    profiles = _day_profiles(dataset)
    distance = np.abs(profiles - np.median(profiles, axis=0)).mean(axis=1)
    usual = float(np.median(distance))
    spread = 1.4826 * float(np.median(np.abs(distance - usual)))
    odd = np.flatnonzero(distance > usual + UNLIKE_SPREADS * max(spread, 0.01 * usual))
    if not len(odd):
        return []
    days = ", ".join(f"{day} ({_part(int(day), card)})" for day in odd)
    verb = "looks" if len(odd) == 1 else "look"
    text = f"counting from 0, day {days} {verb} unlike the rest; perhaps a holiday or a weekend"
    return [Problem("note", text)]


def _isolated_sensors(dataset: Dataset) -> list[Problem]:
    isolated = np.flatnonzero(~(dataset.adjacency > 0).any(axis=1))
    if not len(isolated):
        return []
    share = len(isolated) / dataset.card.num_sensors
    text = f"without any neighbour in the graph: {_named(isolated, dataset.card)}"
    if share > 0.5:
        text += "; check --distance-unit"
    return [Problem("warning" if share > 0.5 else "note", text)]


def _odd_weights(dataset: Dataset) -> list[Problem]:
    found = []
    neighbours = (dataset.adjacency > 0).sum(axis=1).mean()
    others = dataset.card.num_sensors - 1
    if others > 20 and neighbours > 0.5 * others:
        text = (
            f"sensors have {neighbours:.0f} of {others} others as neighbours; check --distance-unit"
        )
        found.append(Problem("warning", text))
    largest = float(dataset.adjacency.max())
    if largest > 1:
        text = f"the graph's weights reach {largest:g}; distances go in with --distances"
        found.append(Problem("warning", text))
    return found


def run_lengths(flags: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the lengths of the runs of True along time in ``flags`` [T, N], and their sensors."""
    silence = np.zeros((1, flags.shape[1]), dtype=np.int8)
    edges = np.diff(np.concatenate([silence, flags.astype(np.int8), silence]), axis=0).T
    sensors, starts = np.nonzero(edges == 1)
    _, stops = np.nonzero(edges == -1)
    return stops - starts, sensors


def _day_profiles(dataset: Dataset) -> NDArray[np.float64]:
    """Return the mean over sensors at each step of each day, gaps filled with the sensor's mean."""
    values = dataset.readings.astype(np.float64)
    filled = np.where(np.isnan(values), np.nanmean(values, axis=0), values)
    profiles: NDArray[np.float64] = filled.mean(axis=1).reshape(-1, dataset.card.steps_per_day)
    return profiles


def _part(day: int, card: DatasetCard) -> str:
    train, validation, _ = card.split
    if day < train:
        return "training"
    return "validation" if day < train + validation else "test"


def _named(sensors: Sequence[int] | NDArray[np.intp], card: DatasetCard) -> str:
    distinct = sorted({int(sensor) for sensor in sensors})
    shown = ", ".join(card.sensor_ids[sensor] for sensor in distinct[:5])
    more = f" and {len(distinct) - 5} more" if len(distinct) > 5 else ""
    return f"{len(distinct)} sensor{'s' if len(distinct) > 1 else ''} ({shown}{more})"


def _hours(steps: int, card: DatasetCard) -> str:
    return f"{steps * card.interval_minutes / 60:.1f} hours"


CHECKS: Final[tuple[Callable[[Dataset], list[Problem]], ...]] = (
    _missing,
    _long_gaps,
    _constant_sensors,
    _stuck_runs,
    _zeros,
    _negative,
    _ended_sensors,
    _outliers,
    _unlike_days,
    _isolated_sensors,
    _odd_weights,
)
