"""Match sensors by their ids, as texts exactly as files write them: ``01`` is not ``1``.

Suggests the nearest id where one is unknown. Knows nothing of files.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from contextlib import suppress


def are_positions(ids: Sequence[str]) -> bool:
    """Return whether ``ids`` are 0, 1, 2, …: what sensors without ids are called."""
    return list(ids) == [str(index) for index in range(len(ids))]


def count_from_one(ids: Iterable[str]) -> bool:
    """Return whether ``ids`` are whole numbers of which 1 is the smallest."""
    numbers = {int(name) for name in ids if name.isdecimal() and str(int(name)) == name}
    return bool(numbers) and min(numbers) == 1


def suggestion(name: str, ids: Iterable[str]) -> str:
    """Return ``; did you mean 'ID'?`` with the id most like ``name``, or nothing."""
    choices = sorted(ids)
    # The same number, written otherwise: without its zeros, or as a spreadsheet writes it.
    same = [one for one in choices if _bare(one) == _bare(name)]
    nearest = same or difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def order_by_id(names: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Return where each of ``wanted`` stands in ``names``; None unless both are the same ids."""
    if len(names) != len(wanted) or set(names) != set(wanted):
        return None
    place = {name: index for index, name in enumerate(names)}
    return [place[name] for name in wanted]


def _bare(name: str) -> str:
    with suppress(ValueError, OverflowError):
        number = float(name)
        if number == int(number):
            return str(int(number))
    return name.strip().casefold()
