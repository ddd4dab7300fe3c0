"""Features of segments cut into those of their windows, for terms over segments to agree with."""

from __future__ import annotations

from core.shapes import OtherSignal, Signal
from core.stgcn import Features


def windows_of(features: Features) -> Features:
    """Cut features of segments [S, C, T + W - 1, N] into those of their windows [S W, C, T, N]."""
    size = features.windows_per_segment
    if size == 1:
        return features

    def cut(signal: Signal) -> OtherSignal:
        length = signal.shape[2] - size + 1
        runs = signal.unfold(2, length, 1)  # [S, C, W, N, T]
        return runs.permute(0, 2, 1, 4, 3).flatten(0, 1)

    return Features(
        [cut(signal) for signal in features.temporal], [cut(signal) for signal in features.spatial]
    )
