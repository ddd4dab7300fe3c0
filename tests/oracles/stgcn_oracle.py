"""STGCN restated naively from its description: float64 NumPy, one window, loops over every index.

Signals are [C, T, N]. Weights come by the names of the network's ``state_dict``: in a gated
convolution the value's rows stand before the gate's. Weights also say which norm and which head
it is. Slow on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = dict[str, Array]


@dataclass
class Layers:
    """What one window leaves behind in the ST blocks."""

    temporal: list[Array] = field(default_factory=list)
    spatial: list[Array] = field(default_factory=list)


def predict(
    weights: Weights, kernel: Array, blocks: int, window: Array, skip: bool = False
) -> tuple[Array, Layers]:
    """Map one window [C, T, N] to the next reading of every sensor [N], or the next H [H, N].

    Its first channel is the readings, a second one is a mask.
    """
    layers = Layers()
    signal = window
    for block in range(blocks):
        name = f"blocks.{block}"
        layers.temporal.append(gated(weights, f"{name}.first", signal))
        layers.spatial.append(graph_convolution(weights, name, kernel, layers.temporal[-1]))
        layers.temporal.append(rectified(weights, f"{name}.second", layers.spatial[-1]))
        signal = layer_norm(weights, f"{name}.norm", layers.temporal[-1])
    return skipped(output_block(weights, signal), window[0], skip), layers


def skipped(prediction: Array, window: Array, skip: bool) -> Array:
    """Add the newest reading of the window to [N] or [H, N], if there is a skip."""
    out = np.array(prediction, copy=True)
    for index in np.ndindex(*out.shape):
        out[index] += window[-1, index[-1]] if skip else 0.0
    return out


def output_block(weights: Weights, signal: Array) -> Array:
    """Map what the last block gives, [C, T, N] with as many steps as the kernel, to [N] or [H, N].

    A head of H steps has a map [H, C]. A bias is one per sensor, or one that all sensors share.
    """
    hidden = layer_norm(weights, "output.norm", gated(weights, "output.first", signal))
    mixed = convolve(weights, "output.second", hidden)
    assert mixed.shape[1] == 1
    return head(weights, mixed[:, 0], range(len(mixed)))


def head(weights: Weights, mixed: Array, channels: Iterable[int]) -> Array:
    """Map what the last layer gives before its sigmoid, [C, N], to [N] or [H, N]."""
    weight, bias = weights["output.weight"], weights["output.bias"]
    N, ahead = mixed.shape[1], weight.ndim == 2
    out = np.empty((len(weight), N) if ahead else N)
    for index in np.ndindex(*out.shape):
        own, n = (weight[index[0]], index[1]) if ahead else (weight, index[0])
        offsets = bias[index[0]] if ahead else bias
        out[index] = offsets[n] if len(offsets) == N else offsets[0]
        out[index] += sum(own[c] * sigmoid(mixed[c, n]) for c in channels)
    return out


def gated(weights: Weights, name: str, signal: Array) -> Array:
    """GLU: (value + residual) * sigmoid(gate)."""
    mixed = convolve(weights, name, signal)
    half = len(mixed) // 2
    carried = residual(weights, name, signal, half, mixed.shape[1])
    out = np.empty_like(carried)
    for c, t, n in np.ndindex(*out.shape):
        out[c, t, n] = (mixed[c, t, n] + carried[c, t, n]) * sigmoid(mixed[half + c, t, n])
    return out


def rectified(weights: Weights, name: str, signal: Array) -> Array:
    """ReLU of value + residual."""
    mixed = convolve(weights, name, signal)
    carried = residual(weights, name, signal, len(mixed), mixed.shape[1])
    out = np.empty_like(mixed)
    for index in np.ndindex(*out.shape):
        out[index] = max(0.0, mixed[index] + carried[index])
    return out


def residual(weights: Weights, name: str, signal: Array, channels: int, steps: int) -> Array:
    """The signal less its first steps; zero-padded to more channels, or projected onto fewer."""
    C, T, N = signal.shape
    projection = weights.get(f"{name}.residual")
    assert (projection is not None) == (channels < C)
    out = np.zeros((channels, steps, N))
    for c, t, n in np.ndindex(*out.shape):
        column = signal[:, t + T - steps, n]
        if projection is not None:
            out[c, t, n] = sum(projection[c, d] * column[d] for d in range(C))
        elif c < C:
            out[c, t, n] = column[c]
    return out


def convolve(weights: Weights, name: str, signal: Array) -> Array:
    """Convolution along time with a bias and without padding."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    channels, size, incoming = weight.shape
    out = np.empty((channels, signal.shape[1] - size + 1, signal.shape[2]))
    for c, t, n in np.ndindex(*out.shape):
        seen = product(range(incoming), range(size))
        out[c, t, n] = bias[c] + sum(weight[c, k, d] * signal[d, t + k, n] for d, k in seen)
    return out


def graph_convolution(weights: Weights, block: str, kernel: Array, signal: Array) -> Array:
    """ReLU of sum over orders k of theta_k T_k x, plus bias and residual."""
    weight, bias = weights[f"{block}.spatial.weight"], weights[f"{block}.spatial.bias"]
    C, _, N = signal.shape
    out = np.empty_like(signal)
    for c, t, n in np.ndindex(*out.shape):
        total = bias[c] + signal[c, t, n]
        for k, d in product(range(len(kernel)), range(C)):
            gathered = sum(kernel[k, n, m] * signal[d, t, m] for m in range(N))
            total += weight[c, d, k] * gathered
        out[c, t, n] = max(0.0, total)
    return out


def layer_norm(weights: Weights, name: str, signal: Array) -> Array:
    """Over sensors and channels of one time step, with a scale and a shift for each of them."""
    C, T, N = signal.shape
    scale, shift = (per_sensor(weights, f"{name}.{one}", N) for one in ("scale", "shift"))
    out = np.empty_like(signal)
    for t in range(T):
        values = [signal[c, t, n] for c, n in product(range(C), range(N))]
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        for c, n in product(range(C), range(N)):
            normalised = (signal[c, t, n] - mean) / math.sqrt(variance + 1e-6)
            out[c, t, n] = normalised * scale[c, n] + shift[c, n]
    return out


def per_sensor(weights: Weights, name: str, sensors: int) -> Array:
    """A scale or shift [C, N]: as it is, or of low rank: per channel, and by a map per sensor."""
    own = weights[name]
    if own.ndim == 2:
        return own
    out, numbers, table = np.empty((len(own), sensors)), weights[f"{name}_map"], weights["sensors"]
    for c, n in np.ndindex(*out.shape):
        out[c, n] = own[c] + sum(numbers[c, r] * table[r, n] for r in range(len(table)))
    return out


def sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))
