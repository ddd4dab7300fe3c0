"""What a teacher says of every time step, in 16 bits, and which steps a batch is about.

The teacher is equivariant to shifts in time, so a hidden layer has one value per time step, not
one per window and step: step k of the window that starts at row r is step r + k of the table. It
is named by the first row that it sees. Tables are only read here; ``target_building`` makes them.

Axes: R time steps of a table, S segments, C channels, T time steps of a segment, N sensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int16, Shaped
from torch import Tensor

from core.shapes import OtherSignal, Rows

LARGEST_ENTRY = 2**15 - 1
"""Signed, although nothing is negative: torch and every device calculate with int16."""
NUMBERS_AT_A_TIME = 2**18
"""A megabyte of float32."""


@dataclass(frozen=True)
class StepTable:
    """Fixed-point numbers: value = low + scale x entry, both of the entry's own time step.

    A scale per step costs four bytes and needs no second pass over all steps; the error is at most
    1/65,534 of the step's own range.
    """

    entries: Int16[Tensor, " R *rest"]
    scale: Float[Tensor, " R"]
    low: Float[Tensor, " R"]

    def at(self, rows: Rows, steps: int) -> Float[Tensor, "_ _ *rest"]:
        """Return the values of steps r .. r + steps - 1 for each r in ``rows``, [S, T, ...]."""
        wanted = rows[:, None] + torch.arange(steps, device=rows.device)
        values = self.entries[wanted].to(self.scale.dtype)
        per_step = (*wanted.shape, *[1] * (values.ndim - 2))
        return values.mul_(self.scale[wanted].view(per_step)).add_(self.low[wanted].view(per_step))

    def to(self, device: torch.device) -> StepTable:
        """Return the table on ``device``."""
        return StepTable(self.entries.to(device), self.scale.to(device), self.low.to(device))


@dataclass(frozen=True)
class StoredDistances:
    """The distances that a correlation term compares, of one layer in one batch.

    SCD: [R, N (N - 1) / 2], the pairs of nodes i < j in the order of ``torch.triu_indices``. TCD:
    [R, T - 1, N], at [r, d - 1] how far step r + d is from step r. All at least zero: low is 0.
    """

    table: StepTable
    rows: Rows
    """First row of each segment [S]."""

    def at(self, steps: int) -> Float[Tensor, "_ _ *rest"]:
        """Return the distances of every segment's steps, [S, T, ...]."""
        return self.table.at(self.rows, steps)


@dataclass(frozen=True)
class StoredFeatures:
    """One layer's features [R, C, N] in one batch."""

    table: StepTable
    rows: Rows
    """First row of each segment [S]."""

    def at(self, steps: int) -> OtherSignal:
        """Return the features of every segment's steps, [S, C, T, N]."""
        return self.table.at(self.rows, steps).transpose(1, 2)


class Taught(NamedTuple):
    """What is known of the teacher at step t of segment s: entries[rows[s] + t] x scale."""

    entries: Shaped[Tensor, " R *rest"]
    """Features [R, C, N] or distances [R, ...]; float32, or int16 of a stored table."""
    scale: Float[Tensor, " R"]
    rows: Rows
    """First row of each segment [S]."""


def taught_by(teacher: Tensor | StoredDistances | StoredFeatures) -> Taught:
    """Name what is known of the teacher, side by side; features at hand make a table too."""
    if not isinstance(teacher, Tensor):
        table = teacher.table
        # First rows of segments are a slice with a step.
        return Taught(
            table.entries.contiguous(), table.scale.contiguous(), teacher.rows.contiguous()
        )
    own = columns_of(teacher)
    S, T = own.shape[:2]
    rows = torch.arange(0, S * T, T, device=own.device)
    return Taught(own.flatten(0, 1), own.new_ones(S * T), rows)


def columns_of(signal: Tensor) -> Float[Tensor, "S T C N"]:
    """Return [S, C, T, N] as [S, T, C, N] in float32; signals of a network lie so already."""
    return signal.detach().float().transpose(1, 2).contiguous()


def to_fixed_point(values: Shaped[Tensor, "R ..."], low: Float[Tensor, " R"]) -> StepTable:
    """Round ``values`` [R, ...], none below its step's ``low``, to the nearest entry.

    A step with a value that is not finite gets a scale that is not finite: it must show in the
    loss.
    """
    flat = values.flatten(1)
    entries = torch.empty(flat.shape, dtype=torch.int16, device=flat.device)
    scale = torch.empty_like(low)
    # Piece by piece: each is gone over several times, and stays in a CPU's caches meanwhile.
    steps = max(1, NUMBERS_AT_A_TIME // max(1, flat.shape[1]))
    for at in range(0, len(flat), steps):
        piece = slice(at, at + steps)
        above = flat[piece] - low[piece, None]
        scale[piece] = above.amax(dim=1) / LARGEST_ENTRY
        above /= torch.where(scale[piece] == 0, 1.0, scale[piece])[:, None]
        entries[piece] = above.nan_to_num_(0.0, 0.0, 0.0).round_()
    return StepTable(entries.view_as(values), scale, low)
