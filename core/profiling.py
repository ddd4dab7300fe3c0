"""A network in, its size and arithmetic out. Measures no time."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from core.stgcn import STGCN


def count_parameters(model: STGCN) -> int:
    """Return the number of weights, as in Table 1."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_flops(model: STGCN) -> int:
    """Return the floating-point operations of one forward pass over one window.

    Counts convolutions and matrix products; a multiply-add is two operations.
    """
    config = model.config
    device = model.graph_kernel.device
    window = torch.zeros(1, 1, config.history_steps, config.num_sensors, device=device)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(window)
    return int(counter.get_total_flops())
