"""Judge whether rows follow each other in time, put them in order, and drop a repeated hour.

All entrances judge times here. Does not insert rows for times that are skipped
(``core.datasets.readings_files`` does).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.datasets.formats.times import Clock, Stamps
from core.errors import DatasetError

_HOUR = np.timedelta64(1, "h")
_NOTHING = np.timedelta64(0, "us")


def rows_in_time(
    path: Path, clock: Clock, rows: NDArray[np.int64], *, sort: bool, once: bool
) -> tuple[NDArray[np.int64], int]:
    """Return the positions of the rows to keep, in order of time, and how many are left out.

    Args:
        path: of the file, for messages.
        clock: times of the rows.
        rows: where each row stands in the file.
        sort: whether rows may come in another order.
        once: whether of an hour that the clock repeats the first half is kept.

    Raises:
        DatasetError: times go back, or two rows have one time.
    """
    kept = np.arange(len(rows))
    if sort:
        offsets = 0 if clock.offsets is None else clock.offsets
        kept = np.argsort(clock.times - offsets, kind="stable")
    if once:
        kept = kept[~_repeated_hour(clock, kept)]
    times = clock.times[kept]
    back = np.flatnonzero(np.diff(times) <= _NOTHING)
    if len(back):
        raise _going_back(path, clock, kept, rows, int(back[0]))
    return kept, len(rows) - len(kept)


def check_spacing(
    path: Path, times: Stamps, interval_minutes: int, steps_per_day: int | None
) -> None:
    """Check that rows are one interval apart.

    Args:
        path: of the file, for messages.
        times: of all rows, increasing.
        interval_minutes: between two rows.
        steps_per_day: rows of a day, where days need not be consecutive but start at midnight;
            None where they are consecutive.

    Raises:
        DatasetError: a row is missing or at another time.
    """
    steps, wanted = np.diff(times), np.timedelta64(interval_minutes, "m")
    wrong = steps != wanted
    if steps_per_day is not None and len(steps):
        starts = np.arange(steps_per_day, len(times), steps_per_day)
        wrong[starts - 1] = ~_at_midnight(times[starts])
        wrong[:1] |= ~_at_midnight(times[:1])
    if not wrong.any():
        return
    row = int(np.argmax(wrong))
    weekdays = "" if steps_per_day is None else " and each of the weekdays start at midnight"
    skipped = steps[row] > wanted and not (steps[row] / wanted) % 1
    advice = "say --fill-times to make gaps of the missing rows, " if skipped else ""
    raise DatasetError(
        f"rows must be {interval_minutes} minutes apart in {path}{weekdays}, but "
        f"{shown(times[row])} is followed by {shown(times[row + 1])} (time step {row}, from 0); "
        f"{advice}add empty rows for missing times, or check --interval and --days"
    )


def shown(time: np.datetime64) -> str:
    """Return a time as people write it."""
    return str(time.astype("datetime64[s]")).replace("T", " ")


def _at_midnight(times: Stamps) -> NDArray[np.bool_]:
    at_midnight: NDArray[np.bool_] = times == times.astype("datetime64[D]")
    return at_midnight


def _going_back(
    path: Path, clock: Clock, kept: NDArray[np.int64], rows: NDArray[np.int64], at: int
) -> DatasetError:
    times = clock.times[kept]
    same = np.flatnonzero(times[: at + 1] == times[at + 1])
    if len(same):
        hour = _repeated_hour(clock, np.arange(len(rows))).any()
        why = "; --fill-times counts the first half of the hour that a clock repeats in autumn"
        return DatasetError(
            f"each time must occur once, but {path} has {shown(times[at + 1])} in row "
            f"{rows[kept[same[0]]]} and in row {rows[kept[at + 1]]}; leave one of them out"
            f"{why if hour else ''}"
        )
    return DatasetError(
        f"times must increase from row to row, but {path} has {shown(times[at])} in row "
        f"{rows[kept[at]]} and then {shown(times[at + 1])} in row {rows[kept[at + 1]]}; say "
        "--sort-times, or correct them"
    )


def _repeated_hour(clock: Clock, kept: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the rows lie in the second half of an hour that the clock repeats.

    A change of the offset proves it; without offsets, the clock must go back on a Sunday by an hour
    less one step.
    """
    times = clock.times[kept]
    repeated = np.zeros(len(times), dtype=bool)
    steps = np.diff(times)
    usual = np.median(steps.astype(np.int64)).astype("timedelta64[us]") if len(steps) else _HOUR
    for at in np.flatnonzero(steps <= _NOTHING):
        if clock.offsets is None:
            sunday = (times[at].astype("datetime64[D]").astype(np.int64) + 3) % 7 == 6
            changed = sunday and steps[at] == usual - _HOUR
        else:
            changed = clock.offsets[kept[at + 1]] < clock.offsets[kept[at]]
        if changed:
            repeated[at + 1 :] |= times[at + 1 :] <= times[at]
    return repeated
