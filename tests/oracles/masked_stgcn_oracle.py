"""A pruned STGCN restated naively: the whole network, with channels set to zero after every layer.

Float64 NumPy on top of ``stgcn_oracle``. Layer norm runs over the channels that are kept. Shares no
idea with shrinking: nothing is cut out and residuals are those of the whole network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.oracles import stgcn_oracle as whole
from tests.oracles.stgcn_oracle import Array, Layers, Weights


def predict(
    weights: Weights,
    kernel: Array,
    kept: Sequence[Sequence[int]],
    window: Array,
    skip: bool = False,
) -> tuple[Array, Layers]:
    """Map one window [C, T, N] to the next readings [N] or [H, N] and features of kept channels.

    ``kept`` lists first, spatial and second of every block, then first and second of the output.
    """
    layers = Layers()
    signal = window
    for block in range(len(kept) // 3):
        name = f"blocks.{block}"
        first, spatial, second = kept[3 * block : 3 * block + 3]
        gated = masked(whole.gated(weights, f"{name}.first", signal), first)
        mixed = masked(whole.graph_convolution(weights, name, kernel, gated), spatial)
        rectified = masked(whole.rectified(weights, f"{name}.second", mixed), second)
        layers.temporal += [gated[list(first)], rectified[list(second)]]
        layers.spatial.append(mixed[list(spatial)])
        signal = layer_norm(weights, f"{name}.norm", rectified, second)
    first, second = kept[-2:]
    gated = masked(whole.gated(weights, "output.first", signal), first)
    hidden = layer_norm(weights, "output.norm", gated, first)
    mixed = whole.convolve(weights, "output.second", hidden)[:, 0]
    return whole.skipped(whole.head(weights, mixed, second), window[0], skip), layers


def masked(signal: Array, kept: Sequence[int]) -> Array:
    """Set all channels but those kept to zero."""
    out = np.zeros_like(signal)
    for channel in kept:
        out[channel] = signal[channel]
    return out


def layer_norm(weights: Weights, name: str, signal: Array, kept: Sequence[int]) -> Array:
    """Over sensors and kept channels; zero elsewhere."""
    chosen = list(kept)
    parts = {
        part: values[chosen] for part, values in weights.items() if part.startswith(f"{name}.")
    }
    parts |= {part: weights[part] for part in ("sensors",) if part in weights}
    out = np.zeros_like(signal)
    out[chosen] = whole.layer_norm(parts, name, signal[chosen])
    return out
