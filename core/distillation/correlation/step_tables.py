"""Hold a teacher's values for every time step in 16 bits, and look up those of a batch.

The teacher is equivariant to shifts in time, so a hidden layer has one value per time step, not
one per window and step: step k of the window that starts at row r is step r + k of the table. A
step is indexed by the first row of its input. Runs no teacher; ``target_building`` does.

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
"""Signed, although no entry is negative: torch supports int16 on every device."""
NUMBERS_AT_A_TIME = 2**18
"""Entries converted at a time: a megabyte of float32."""


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
    """The teacher's distances that a correlation term compares, of one layer in one batch.

    SCD: [R, N (N - 1) / 2], the pairs of nodes i < j in the order of ``torch.triu_indices``. TCD:
    [R, T - 1, N], at [r, d - 1] the distance of step r + d from step r. Low is 0, since
    distances are at least zero.
    """

    table: StepTable
    rows: Rows
    """First row of each segment [S]."""

    def at(self, steps: int) -> Float[Tensor, "_ _ *rest"]:
        """Return the distances of every segment's steps, [S, T, ...]."""
        return self.table.at(self.rows, steps)


@dataclass(frozen=True)
class StoredFeatures:
    """The teacher's features [R, C, N] of one layer in one batch."""

    table: StepTable
    rows: Rows
    """First row of each segment [S]."""

    def at(self, steps: int) -> OtherSignal:
        """Return the features of every segment's steps, [S, C, T, N]."""
        return self.table.at(self.rows, steps).transpose(1, 2)


class TeacherArrays(NamedTuple):
    """The teacher's values: at step t of segment s, entries x scale at row rows[s] + t."""

    entries: Shaped[Tensor, " R *rest"]
    """Features [R, C, N] or distances [R, ...]; float32, or int16 of a stored table."""
    scale: Float[Tensor, " R"]
    rows: Rows
    """First row of each segment [S]."""


def teacher_arrays(teacher: Tensor | StoredDistances | StoredFeatures) -> TeacherArrays:
    """Return the arrays behind any form of the teacher; live features become a table too."""
    if not isinstance(teacher, Tensor):
        table = teacher.table
        # First rows of segments are a strided slice.
        return TeacherArrays(
            table.entries.contiguous(), table.scale.contiguous(), teacher.rows.contiguous()
        )
    own = columns_of(teacher)
    S, T = own.shape[:2]
    rows = torch.arange(0, S * T, T, device=own.device)
    return TeacherArrays(own.flatten(0, 1), own.new_ones(S * T), rows)


def columns_of(signal: Tensor) -> Float[Tensor, "S T C N"]:
    """Return [S, C, T, N] as [S, T, C, N] in float32: the memory order inside the network."""
    return signal.detach().float().transpose(1, 2).contiguous()


def to_fixed_point(values: Shaped[Tensor, "R ..."], low: Float[Tensor, " R"]) -> StepTable:
    """Round ``values`` [R, ...], none below its step's ``low``, to the nearest entry.

    A step with a value that is not finite gets a scale that is not finite, so that the loss is not
    finite either.
    """
    flat = values.flatten(1)
    entries = torch.empty(flat.shape, dtype=torch.int16, device=flat.device)
    scale = torch.empty_like(low)
    # Piece by piece: each is read several times and stays in a CPU's caches meanwhile.
    steps = max(1, NUMBERS_AT_A_TIME // max(1, flat.shape[1]))
    for at in range(0, len(flat), steps):
        piece = slice(at, at + steps)
        above = flat[piece] - low[piece, None]
        scale[piece] = above.amax(dim=1) / LARGEST_ENTRY
        above /= torch.where(scale[piece] == 0, 1.0, scale[piece])[:, None]
        entries[piece] = above.nan_to_num_(0.0, 0.0, 0.0).round_()
    return StepTable(entries.view_as(values), scale, low)
