"""Read columns of times as local times.

Local time decides: an offset from UTC is read and put aside, so a day is a day on the wall clock,
the hour skipped in spring is a gap and the hour repeated in autumn comes twice. Epochs (whole
seconds, milli-, micro- or nanoseconds since 1970) have no offset and are taken as they are. Does
not judge whether rows follow each other (``row_order`` does).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import ConfigError, DatasetError

Stamps = NDArray[Any]
"""``datetime64[us]``; NumPy's stubs and run-time checks disagree about their unit."""

_CLOCK = r"(?P<clock>\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)(?: ?(?P<half>[AaPp][Mm]))?"
_ZONE = r" ?(?P<zone>Z|[+-]\d{2}(?::?\d{2})?|[A-Z]{3,5})"
_REST = rf"(?:(?:T| +){_CLOCK}(?:{_ZONE})?)?"
_YEAR_FIRST = re.compile(
    rf"(?P<year>\d{{4}})([-/.])(?P<month>\d{{1,2}})\2(?P<day>\d{{1,2}}){_REST}"
)
_YEAR_LAST = re.compile(rf"(?P<one>\d{{1,2}})([-/.])(?P<two>\d{{1,2}})\2(?P<year>\d{{4}}){_REST}")
_COMPACT = re.compile(
    r"(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})(?:[T ]?(?P<rest>\d{4}(?:\d{2})?))?"
)
_EPOCH = re.compile(r"(?P<number>\d{10}|\d{13}|\d{16}|\d{19})(?:\.0*)?")
_EPOCH_UNITS = {10: "s", 13: "ms", 16: "us", 19: "ns"}


@dataclass(frozen=True)
class Clock:
    """The times of rows."""

    times: Stamps
    """[T], local, in microseconds."""
    offsets: NDArray[Any] | None = None
    """[T], of local time from UTC, where every row gives one."""


def read_times(cells: pd.Series[Any], day_first: bool | None, place: Callable[[int], str]) -> Clock:
    """Read a column of times.

    Args:
        cells: of a type of times, or texts or numbers.
        day_first: whether 01/02/2016 is the first of February; None: as a day above 12 proves.
        place: names the file, row and column of a cell, for messages.

    Raises:
        DatasetError: a cell that is no time.
        ConfigError: days and months cannot be told apart.
    """
    if pd.api.types.is_datetime64_any_dtype(cells):
        return _typed(cells, place)
    texts = [_text(cell) for cell in cells]
    order = _day_first(texts, day_first, place)
    parsed: dict[str, tuple[np.datetime64, np.timedelta64 | None] | None] = {}
    for row, text in enumerate(texts):
        if text not in parsed:
            parsed[text] = _parse(text, order)
        if parsed[text] is None:
            raise _no_time(place(row), cells.iloc[row])
    found = [parsed[text] for text in texts]
    times = np.array([one[0] for one in found if one], dtype="datetime64[us]")
    offsets = [one[1] for one in found if one]
    if any(offset is None for offset in offsets):
        return Clock(times)
    return Clock(times, np.array(offsets, dtype="timedelta64[us]"))


def _typed(cells: pd.Series[Any], place: Callable[[int], str]) -> Clock:
    missing = np.flatnonzero(cells.isna())
    if len(missing):
        raise _no_time(place(int(missing[0])), "nothing")
    local = cells.dt.tz_localize(None)
    times = local.to_numpy(dtype="datetime64[us]")
    if cells.dt.tz is None:
        return Clock(times)
    universal = cells.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    return Clock(times, times - universal)


def _no_time(place: str, cell: object) -> DatasetError:
    return DatasetError(
        f"a time column must hold timestamps such as 2012-03-01 00:05, or seconds or milliseconds "
        f"since 1970, but {place} holds {str(cell)!r}; correct it, or name another column"
    )


def _text(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _parse(text: str, day_first: bool) -> tuple[np.datetime64, np.timedelta64 | None] | None:
    """Return a local time and its offset from UTC; None if it is no time."""
    epoch = _EPOCH.fullmatch(text)
    if epoch:
        number = epoch["number"]
        stamp = np.array(int(number)).astype(f"datetime64[{_EPOCH_UNITS[len(number)]}]")
        return np.datetime64(stamp.astype("datetime64[us]").item(), "us"), None
    compact = _COMPACT.fullmatch(text)
    if compact:
        rest = compact["rest"] or "0000"
        clock = ":".join(rest[at : at + 2] for at in range(0, len(rest), 2))
        return _stamp(compact["year"], compact["month"], compact["day"], clock, None, None)
    match = _YEAR_FIRST.fullmatch(text)
    if match:
        month, day = match["month"], match["day"]
    else:
        match = _YEAR_LAST.fullmatch(text)
        if not match:
            return None
        day, month = (match["one"], match["two"])[:: 1 if day_first else -1]
    return _stamp(match["year"], month, day, match["clock"], match["half"], match["zone"])


def _stamp(
    year: str, month: str, day: str, clock: str | None, half: str | None, zone: str | None
) -> tuple[np.datetime64, np.timedelta64 | None] | None:
    hour, minute, *rest = (clock or "0:00").split(":")
    hours = int(hour)
    if half:
        if not 1 <= hours <= 12:
            return None
        hours = hours % 12 + (12 if half.lower() == "pm" else 0)
    seconds = (rest[0] if rest else "00").replace(",", ".")[:9]
    text = f"{year}-{int(month):02}-{int(day):02}T{hours:02}:{minute}:{seconds}"
    try:
        return np.datetime64(text, "us"), _offset(zone)
    except ValueError:
        return None


def _offset(zone: str | None) -> np.timedelta64 | None:
    """Return an offset from UTC; None where none is given, also for names such as CEST."""
    if zone in {"Z", "UTC", "GMT"}:
        return np.timedelta64(0, "m")
    if zone is None or zone.isalpha():
        return None
    digits = zone[1:].replace(":", "").ljust(4, "0")
    minutes = 60 * int(digits[:2]) + int(digits[2:])
    return np.timedelta64(-minutes if zone[0] == "-" else minutes, "m")


def _day_first(texts: list[str], given: bool | None, place: Callable[[int], str]) -> bool:
    """Return whether dates such as 13/03/2016 begin with the day; one above 12 proves it."""
    dates = {row: match for row, text in enumerate(texts) if (match := _YEAR_LAST.fullmatch(text))}
    if not dates:
        return bool(given)
    proof: dict[bool, int] = {}
    for row, match in dates.items():
        one, two = int(match["one"]) > 12, int(match["two"]) > 12
        if one != two:
            proof.setdefault(one, row)
    if len(proof) == 2:
        raise _both(texts, proof, place)
    if proof:
        return _proved(texts, proof, given, place)
    if given is None:
        seen = next(iter(dates))
        raise ConfigError(
            f"dates such as {texts[seen]!r} in {place(seen)} may begin with the day or the month, "
            "and no day above 12 tells which; say --day-first or --no-day-first"
        )
    return given


def _both(texts: list[str], proof: dict[bool, int], place: Callable[[int], str]) -> DatasetError:
    one, two = sorted(proof.values())
    return DatasetError(
        f"dates must all begin with the day or all with the month, but {place(one)} holds "
        f"{texts[one]!r} and {place(two)} holds {texts[two]!r}; correct them"
    )


def _proved(
    texts: list[str], proof: dict[bool, int], given: bool | None, place: Callable[[int], str]
) -> bool:
    first, row = next(iter(proof.items()))
    if given is not None and given != first:
        raise ConfigError(
            f"dates begin with the {'day' if first else 'month'}, as {texts[row]!r} in "
            f"{place(row)} proves; leave --day-first and --no-day-first out"
        )
    return first
