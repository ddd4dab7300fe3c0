"""Importance of filters restated naively: float64 NumPy, one loop per index of Eq. 13-14.

Weights and gradients come by the names of the network's ``state_dict``; in a gated convolution the
value's rows stand before the gate's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Named = dict[str, Array]


def kdis(weights: Named, gradients: Named, layer: str, filters: int) -> list[float]:
    """Per filter the sum over its weights of (gradient x weight)^2."""
    return [
        sum(
            contribution(weights[name], gradients[name], row)
            for name in (f"{layer}.weight", f"{layer}.bias", f"{layer}.residual")
            if name in weights
            for row in range(one, len(weights[name]), filters)
        )
        for one in range(filters)
    ]


def contribution(weight: Array, gradient: Array, row: int) -> float:
    """Of one row of one weight."""
    total = 0.0
    for index in np.ndindex(*weight.shape[1:]):
        total += float(gradient[(row, *index)] * weight[(row, *index)]) ** 2
    return total
