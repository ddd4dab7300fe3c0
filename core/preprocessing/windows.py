"""Find the windows of each part of the split, as the indices of their first rows.

A window is ``history_steps`` rows that the network sees and ``horizon_steps`` rows it forecasts.
Its first row index is the only key that joins it to readings and to teacher targets. No window
crosses from one part of the split into another, nor a midnight between days that are not
consecutive. Does not copy readings (``batching`` does).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from core.datasets.dataset import DatasetCard
from core.errors import DatasetError
from core.shapes import Rows

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Stretch:
    """Rows ``start`` to ``stop - 1``: consecutive in time, within one part of the split."""

    start: int
    stop: int

    def first_rows(self, window_steps: int) -> Rows:
        """Return the first row of every window of ``window_steps`` rows inside."""
        return torch.arange(self.start, max(self.start, self.stop - window_steps + 1))


def stretches(card: DatasetCard, part: Part) -> tuple[Stretch, ...]:
    """Return the uninterrupted stretches of one part of the split.

    Weekdays: one per day. Consecutive days: one for the whole part, across midnights.
    """
    index = PARTS.index(part)
    first_day, days = sum(card.split[:index]), card.split[index]
    length = card.steps_per_day
    if card.day_kind == "consecutive":
        return (Stretch(first_day * length, (first_day + days) * length),)
    return tuple(
        Stretch(day * length, (day + 1) * length) for day in range(first_day, first_day + days)
    )


def window_rows(parts: tuple[Stretch, ...], window_steps: int) -> Rows:
    """Return the first rows of all windows of all stretches, in order.

    Raises:
        DatasetError: the stretches are too short for a single window.
    """
    rows = torch.cat([stretch.first_rows(window_steps) for stretch in parts])
    if not len(rows):
        longest = max(stretch.stop - stretch.start for stretch in parts)
        raise DatasetError(
            f"a window needs {window_steps} rows in a stretch, the longest has {longest}; "
            "use a shorter interval or consecutive days"
        )
    return rows


def segment_rows(
    parts: tuple[Stretch, ...], window_steps: int, windows_per_segment: int, offset: int
) -> tuple[Rows, Tensor]:
    """Cut every stretch into segments of consecutive windows.

    The ``windows_per_segment`` windows of a segment share most of their convolutions. Segments
    start ``offset`` (0 .. windows_per_segment - 1) windows into each stretch; windows before the
    first and after the last whole segment are left out, so vary the offset from epoch to epoch.

    Returns:
        First row of each segment [S], and the index of its stretch [S].
    """
    firsts, owners = [], []
    for index, stretch in enumerate(parts):
        windows = stretch.first_rows(window_steps)[offset:]
        runs = windows[::windows_per_segment][: len(windows) // windows_per_segment]
        firsts.append(runs)
        owners.append(torch.full_like(runs, index))
    return torch.cat(firsts), torch.cat(owners)
