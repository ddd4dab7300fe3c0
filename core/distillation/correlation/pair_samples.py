"""Estimate SCD from a sample of node pairs per time step, for graphs too large for all pairs.

Draws K pairs i < j for every time step of a batch, uniformly with replacement, from a seed and the
batch's rows. The mean squared difference of student and teacher over them is an unbiased estimate
of the mean over all pairs, and so is its gradient. Keeps no generator: the same seed and rows give
the same pairs, also after a resume; another order of rows, as in the next epoch, gives others.
Everything is computed on the device of the rows, so a GPU never waits for the host.

Axes: G time steps by themselves, S segments, C channels, T time steps of a segment, N sensors,
K pairs of a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.distillation.correlation.reference import Teacher, steps_apart, teachers_steps_apart
from core.distillation.correlation.step_tables import StoredDistances
from core.errors import ConfigError
from core.shapes import Rows, Scalar, Signal

# SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), its constants as signed numbers.
STEP: Final = 0x9E3779B97F4A7C15 - 2**64
FACTORS: Final = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


@dataclass(frozen=True)
class SampledPairs:
    """The pairs of nodes that are compared in one batch."""

    count: int
    """Pairs per time step, K."""
    key: Int[Tensor, ""]
    """Determines which pairs are drawn."""

    def of(
        self, steps: int, nodes: int
    ) -> tuple[Int[Tensor, "steps count"], Int[Tensor, "steps count"]]:
        """Return the nodes i < j of the pairs of each step, [G, K] each."""
        draws = torch.arange(1, steps * self.count + 1, device=self.key.device)
        ordered = nodes * (nodes - 1)  # i and any other node: each pair twice
        drawn = _shifted(_mixed(self.key + draws * STEP), 1) % ordered
        first = drawn // (nodes - 1)
        second = (first + 1 + drawn % (nodes - 1)) % nodes
        pairs = torch.stack([first, second]).view(2, steps, self.count)
        return pairs.amin(dim=0), pairs.amax(dim=0)


def sample_pairs(count: int, seed: int, rows: Rows) -> SampledPairs:
    """Draw ``count`` pairs for every time step of the batch whose windows start at ``rows``.

    Raises:
        ConfigError: ``count`` is no whole number of at least 1.
    """
    check_pairs(count)
    places = torch.arange(1, len(rows) + 1, device=rows.device)
    # Sums and products of whole numbers wrap around and do not depend on their order.
    return SampledPairs(count, _mixed(_mixed(_mixed(rows.long() + seed) + places * STEP).sum()))


def check_pairs(count: object) -> None:
    """Raise ``ConfigError`` unless ``count`` is a whole number of at least 1."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(f"pairs must be a whole number of at least 1, got {count!r}")


def sampled_scd(
    student: Signal, teacher: Teacher, weights: Float[Tensor, " T"], pairs: SampledPairs
) -> Scalar:
    """Return the sum over segments and steps of weight times mean squared difference.

    Args:
        student: [S, C, T, N].
        teacher: [S, C', T, N], or its stored table.
        weights: [T].
        pairs: the sampled pairs.
    """
    S, _, T, N = student.shape
    i, j = pairs.of(S * T, N)
    own = _distances(steps_apart(student)[:, :, 0], i, j)
    wanted = _teachers_distances(teachers_steps_apart(teacher, T), i, j, N)
    error = (own - wanted.to(own.dtype)).square().mean(dim=1)
    return error @ weights.to(error).repeat(S)


def _distances(nodes: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Map [G, C, N] to the mean over channels of |F_i - F_j|, [G, K]."""
    early, late = (
        nodes.gather(2, chosen[:, None].expand(-1, nodes.shape[1], -1)) for chosen in (i, j)
    )
    return (early - late).abs().mean(dim=1)


def _teachers_distances(teacher: Teacher, i: Tensor, j: Tensor, N: int) -> Tensor:
    """Return what ``_distances`` does, from any form of the teacher's G steps."""
    if isinstance(teacher, Tensor):
        return _distances(teacher[:, :, 0], i, j)
    entries, scale = teacher.table.entries, teacher.table.scale[teacher.rows][:, None]
    rows = teacher.rows[:, None]
    if isinstance(teacher, StoredDistances):
        distances = entries[rows, i * N - i * (i + 1) // 2 + j - i - 1]
    else:
        early, late = (entries[rows, :, chosen].to(scale.dtype) for chosen in (i, j))
        distances = (early - late).abs().mean(dim=2)  # of [G, K, C]
    return distances * scale


def _mixed(numbers: Tensor) -> Tensor:
    """Hash 64-bit numbers so that neighbouring ones become independent."""
    numbers = (numbers ^ _shifted(numbers, 30)) * FACTORS[0]
    numbers = (numbers ^ _shifted(numbers, 27)) * FACTORS[1]
    return numbers ^ _shifted(numbers, 31)


def _shifted(numbers: Tensor, bits: int) -> Tensor:
    """Shift to the right as unsigned numbers."""
    return (numbers >> bits) & ((1 << (64 - bits)) - 1)
