"""Cut a batch of segments of consecutive windows from the readings.

A segment is a run of consecutive windows computed in one pass, since they share most of their
convolutions. Does not choose or shuffle the segments of a batch: the training loop
(``core.training.trainer``) does.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def cut_batch(
    readings: Float[Tensor, "_ N"],
    first_rows: Int[Tensor, " S"],
    history_steps: int,
    windows_per_segment: int,
) -> tuple[Float[Tensor, "S 1 T N"], Float[Tensor, "W N"], Int[Tensor, " W"]]:
    """Gather segments from the readings [T, N].

    Returns:
        history [S, 1, history_steps + windows_per_segment - 1, N], and per window its target
        [S * windows_per_segment, N] and first row.
    """
    columns = history_steps + windows_per_segment
    steps = torch.arange(columns, device=first_rows.device)
    block = readings[first_rows[:, None] + steps]
    rows = (first_rows[:, None] + steps[:windows_per_segment]).flatten()
    return block[:, None, :-1], block[:, history_steps:].flatten(0, 1), rows
