"""ASTGCN restated naively from its description: float64 NumPy, one window, loops over every index.

Signals are [C, T, N]. Weights come by the names of the network's ``state_dict``. Channels that are
not kept are set to zero after every layer and left out of layer norm, so this is also the oracle
of a pruned network. Slow on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

from tests.oracles.stgcn_oracle import Array, Layers, Weights, sigmoid, skipped


def predict(
    weights: Weights,
    kernel: Array,
    kept: Sequence[Sequence[int]],
    window: Array,
    skip: bool = False,
) -> tuple[Array, Layers]:
    """Map one window [C, T, N] to the next H readings [H, N] and the features of kept channels.

    ``kept`` lists graph convolution and convolution along time of every block.
    """
    layers, signal, carried = Layers(), window, range(len(window))
    for block in range(len(kept) // 2):
        name, (filters, out) = f"blocks.{block}", kept[2 * block : 2 * block + 2]
        attended = attend_steps(weights, f"{name}.steps", signal)
        sources = attention_of_sensors(weights, f"{name}.sensors", attended)
        mixed = graph_convolution(weights, f"{name}.spatial", kernel, sources, signal, filters)
        last = convolution(weights, f"{name}.temporal", mixed, signal, out)
        layers.temporal += [attended[list(carried)], last[list(out)]]
        layers.spatial.append(mixed[list(filters)])
        signal, carried = layer_norm(weights, f"{name}.norm", last, out), out
    head, bias = weights["head"], weights["head_bias"]
    C, T, N = signal.shape
    ahead = np.empty((len(head), N))
    for h, n in np.ndindex(*ahead.shape):
        seen = product(range(T), range(C))
        ahead[h, n] = bias[h] + sum(head[h, t, c] * signal[c, t, n] for t, c in seen)
    return skipped(ahead, window[0], skip), layers


def attend_steps(weights: Weights, name: str, signal: Array) -> Array:
    """Mix time steps: softmax over the steps i mixed into step j of V sigmoid(product + b)."""
    first, second, third = (weights[f"{name}.{one}"] for one in ("first", "second", "third"))
    scale, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    C, T, N = signal.shape
    hidden = np.empty((T, T))
    for i, j in product(range(T), range(T)):
        total = bias[i, j]
        for n in range(N):
            left = sum(
                first[m] * signal[c, i, m] * second[c, n] for m, c in product(range(N), range(C))
            )
            total += left * sum(third[c] * signal[c, j, n] for c in range(C))
        hidden[i, j] = sigmoid(total)
    scores = matrix_product(scale, hidden)
    out = np.empty_like(signal)
    for c, j, n in np.ndindex(*out.shape):
        shares = softmax([scores[i, j] for i in range(T)])
        out[c, j, n] = sum(shares[i] * signal[c, i, n] for i in range(T))
    return out


def attention_of_sensors(weights: Weights, name: str, signal: Array) -> Array:
    """What sensor i takes from sensor j [N, N]: softmax over j of V sigmoid(product + b)."""
    first, second, third = (weights[f"{name}.{one}"] for one in ("first", "second", "third"))
    scale, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    C, T, N = signal.shape
    hidden = np.empty((N, N))
    for i, j in product(range(N), range(N)):
        total = bias[i, j]
        for t in range(T):
            left = sum(
                first[s] * signal[c, s, i] * second[c, t] for s, c in product(range(T), range(C))
            )
            total += left * sum(third[c] * signal[c, t, j] for c in range(C))
        hidden[i, j] = sigmoid(total)
    return np.array([softmax(row) for row in matrix_product(scale, hidden)])


def graph_convolution(
    weights: Weights,
    name: str,
    kernel: Array,
    sources: Array,
    signal: Array,
    filters: Sequence[int],
) -> Array:
    """ReLU of sum over orders k of theta_k (T_k * S) x, plus bias."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    C, T, N = signal.shape
    out = np.zeros((len(weight), T, N))
    for f, t, n in product(filters, range(T), range(N)):
        total = bias[f]
        for k, c in product(range(len(kernel)), range(C)):
            near = sum(kernel[k, n, m] * sources[n, m] * signal[c, t, m] for m in range(N))
            total += weight[f, c, k] * near
        out[f, t, n] = max(0.0, total)
    return out


def convolution(
    weights: Weights, name: str, signal: Array, block_input: Array, kept: Sequence[int]
) -> Array:
    """ReLU of a convolution along time, zeros before and after, plus a map of the block's input."""
    weight, bias, residual = (weights[f"{name}.{one}"] for one in ("weight", "bias", "residual"))
    C, T, N = signal.shape
    size = weight.shape[1]
    out = np.zeros((len(weight), T, N))
    for f, t, n in product(kept, range(T), range(N)):
        total = bias[f] + sum(
            residual[f, c] * block_input[c, t, n] for c in range(len(block_input))
        )
        for k, c in product(range(size), range(C)):
            step = t + k - size // 2
            if 0 <= step < T:
                total += weight[f, k, c] * signal[c, step, n]
        out[f, t, n] = max(0.0, total)
    return out


def layer_norm(weights: Weights, name: str, signal: Array, kept: Sequence[int]) -> Array:
    """Over the kept channels of one time step and sensor; zero elsewhere."""
    scale, shift = weights[f"{name}.scale"], weights[f"{name}.shift"]
    out = np.zeros_like(signal)
    for t, n in product(range(signal.shape[1]), range(signal.shape[2])):
        values = [signal[c, t, n] for c in kept]
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        for c in kept:
            out[c, t, n] = scale[c] * (signal[c, t, n] - mean) / math.sqrt(variance + 1e-5)
            out[c, t, n] += shift[c]
    return out


def matrix_product(left: Array, right: Array) -> Array:
    out = np.empty((len(left), right.shape[1]))
    for i, j in np.ndindex(*out.shape):
        out[i, j] = sum(left[i, k] * right[k, j] for k in range(len(right)))
    return out


def softmax(values: Sequence[float]) -> list[float]:
    raised = [math.exp(value - max(values)) for value in values]
    return [one / sum(raised) for one in raised]
