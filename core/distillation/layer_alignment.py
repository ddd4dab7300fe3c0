"""Bring hidden layers of networks of different families to the same windows and time steps.

Where both are equivariant in time there is nothing to do: layers have one value per time step, and
segments of windows share them. Otherwise every window is compared by itself, block by block, and of
each layer the newest time steps that both have. Compares nothing itself.

Axes: S segments of W consecutive windows, B windows, C channels, T time steps, N sensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import ConfigError
from core.families import DEFAULT_FAMILY, NetworkConfig, find_family
from core.shapes import OtherSignal
from core.stgcn import Features
from core.stgcn_config import STGCNConfig

LayerSteps = tuple[int, ...]
"""Time steps of one window in the first, the spatial and the second layer of every block."""


@dataclass(frozen=True)
class Students:
    """What the targets of a teacher depend on of the students that it teaches."""

    steps_per_pass: int | None = None
    """How many time steps they predict; None: all of the horizon."""
    blocks: int | None = None
    """How many blocks they have; None: as many as the teacher."""
    family: str = DEFAULT_FAMILY

    @classmethod
    def like(cls, shape: NetworkConfig) -> Students:
        """Return students of this shape."""
        return cls(shape.steps_per_pass, len(shape.channels), shape.family)


def steps_of_windows(
    teachers: Sequence[NetworkConfig], student_family: str, blocks: int
) -> LayerSteps | None:
    """Return the time steps of each window that are compared; None: all, by time step.

    Args:
        teachers: shapes of the networks that teach as one.
        student_family: a name in ``FAMILIES``.
        blocks: how many blocks are compared.
    """
    first = teachers[0]
    if student_family == DEFAULT_FAMILY:
        if all(one.equivariant for one in teachers):
            return None
        # Of any widths: time steps follow from history, kernel and depth alone.
        size, widths = first.temporal_kernel_size, ((1, 1, 1),) * max(1, blocks)
        student: LayerSteps = STGCNConfig(1, widths, first.history_steps, size).layer_steps
    else:
        student = (first.history_steps,) * (3 * blocks)
    return tuple(map(min, first.layer_steps[: 3 * blocks], student))


def check_one_kind(teachers: Sequence[NetworkConfig]) -> None:
    """Raise ``ConfigError`` unless all have hidden layers that can be laid side by side."""
    families = sorted({one.family for one in teachers})
    if len({find_family(name).config.equivariant for name in families}) > 1:
        raise ConfigError(
            f"networks of the families {' and '.join(families)} have no hidden layers in common; "
            "choose a method that compares forecasts alone, rd_l2, rd_kl or ord, or name teachers "
            "of one family"
        )


def newest_of_windows(features: Features, steps: LayerSteps) -> Features:
    """Return the newest ``steps`` of the layers of each window [B, C, T, N], B = S W.

    Args:
        features: of segments [S, C, T + W - 1, N], at least the blocks that ``steps`` names.
        steps: see ``steps_of_windows``.
    """
    W = features.windows_per_segment
    temporal = [wanted for at, wanted in enumerate(steps) if at % 3 != 1]
    pairs = zip(features.temporal, temporal, strict=False)
    spatial = zip(features.spatial, steps[1::3], strict=False)
    return Features(
        [_cut(layer, W, wanted) for layer, wanted in pairs],
        [_cut(layer, W, wanted) for layer, wanted in spatial],
    )


def _cut(signal: OtherSignal, windows: int, steps: int) -> OtherSignal:
    first = signal.shape[2] - windows + 1 - steps
    newest = signal[:, :, first:]
    if windows == 1:
        return newest
    runs = newest.unfold(2, steps, 1)  # [S, C, W, N, T]
    return runs.permute(0, 2, 1, 4, 3).flatten(0, 1)
