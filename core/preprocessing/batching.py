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
    targets: Float[Tensor, "_ N"],
    first_rows: Int[Tensor, " S"],
    history_steps: int,
    windows_per_segment: int,
    steps_ahead: int | None = None,
    measured: Float[Tensor, "_ N"] | None = None,
) -> tuple[Float[Tensor, "S C T N"], Float[Tensor, "W *H N"], Int[Tensor, " W"]]:
    """Gather segments from the readings [T, N].

    Args:
        readings: what a network reads [T, N].
        targets: what it is to forecast [T, N], NaN where that is not known; ``readings`` itself
            where nothing is missing.
        first_rows: of the segments [S].
        history_steps: M.
        windows_per_segment: of each segment.
        steps_ahead: H; None: the target is the next reading alone, without an axis of steps.
        measured: [T, N], NaN where ``readings`` were filled, for networks that read a mask; None:
            the network reads none.

    Returns:
        history [S, 1 or 2, history_steps + windows_per_segment - 1, N], and per window its target
        [S * windows_per_segment, N] or [S * windows_per_segment, H, N] and first row.
    """
    seen = history_steps + windows_per_segment - 1
    steps = torch.arange(seen + (steps_ahead or 1), device=first_rows.device)
    rows_of_block = first_rows[:, None] + steps
    block = readings[rows_of_block]
    rows = (first_rows[:, None] + steps[:windows_per_segment]).flatten()
    ahead = block if targets is readings else targets[rows_of_block]
    target = ahead[:, history_steps:]
    if steps_ahead is not None:
        target = target.unfold(1, steps_ahead, 1).transpose(2, 3)
    history = block[:, :seen]
    if measured is None:
        return history[:, None], target.flatten(0, 1), rows
    missing = measured[rows_of_block[:, :seen]].isnan().to(history.dtype)
    return torch.stack([history, missing], dim=1), target.flatten(0, 1), rows
