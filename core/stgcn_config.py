"""Settings of an STGCN in, the shape of each of its layers and their number of weights out.

Pruning makes widths irregular: ``channels`` stay those of the unpruned network, ``kept`` says which
of them are still there. Holds no weights; the network itself is in ``core.stgcn``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from core.errors import ConfigError

BlockChannels = tuple[int, int, int]
Kept = tuple[int, ...]
"""Of one layer's channels those still there, by their index in the unpruned network, increasing."""

LayerKind = Literal["glu", "relu", "sigmoid", "graph"]

TEACHER_CHANNELS = ((1, 32, 64), (64, 32, 128))
PRUNING_BASE_CHANNELS = ((1, 8, 16), (16, 8, 32))
STUDENT_CHANNELS = ((1, 2, 4), (4, 2, 8))
"""Table 1."""


@dataclass(frozen=True)
class LayerShape:
    """What one prunable layer takes and gives."""

    name: str
    """As its weights are called, ``blocks.0.first``."""
    kind: LayerKind
    kernel_size: int
    """Time steps; of a graph convolution its Chebyshev order."""
    incoming: Kept
    outgoing: Kept
    projected: bool
    """The residual goes through a 1x1 map: the unpruned layer takes more channels than it gives."""
    normed: bool
    """Layer norm comes next."""

    def parameters(self, num_sensors: int) -> int:
        """Return the number of weights of the layer and of the layer norm after it."""
        rows = len(self.outgoing) * (2 if self.kind == "glu" else 1)
        convolution = rows * (self.kernel_size * len(self.incoming) + 1)
        residual = len(self.incoming) * len(self.outgoing) if self.projected else 0
        norm = 2 * num_sensors * len(self.outgoing) if self.normed else 0
        return convolution + residual + norm


@dataclass(frozen=True)
class STGCNConfig:
    """The shape of an STGCN."""

    num_sensors: int
    """N."""
    channels: tuple[BlockChannels, ...] = TEACHER_CHANNELS
    """Per ST block: channels in, of the first two layers, out; before any pruning."""
    history_steps: int = 12
    """M: time steps the network sees before it predicts the next."""
    temporal_kernel_size: int = 3
    """Kt."""
    chebyshev_order: int = 3
    """Ks."""
    kept: tuple[Kept, ...] | None = None
    """Per prunable layer (``layers``) the channels still there; None: all, nothing was pruned."""

    def __post_init__(self) -> None:
        """Refuse shapes no network can have."""
        if min(self.num_sensors, self.temporal_kernel_size, self.chebyshev_order) < 1:
            raise ConfigError(
                "num_sensors, temporal_kernel_size and chebyshev_order must be at least 1, got "
                f"{self.num_sensors}, {self.temporal_kernel_size} and {self.chebyshev_order}"
            )
        if not self.channels or any(len(block) != 3 or min(block) < 1 for block in self.channels):
            raise ConfigError(
                f"channels must be triples of positive widths, one per block, got {self.channels}"
            )
        joints = zip(self.channels, self.channels[1:], strict=False)
        if self.channels[0][0] != 1 or any(left[2] != right[0] for left, right in joints):
            raise ConfigError(
                "channels must start at 1 and each block must take what the one before gives, "
                f"got {self.channels}"
            )
        if self.output_kernel_size < 1:
            consumed = self.history_steps - self.output_kernel_size
            raise ConfigError(
                f"history_steps must exceed {consumed} so that a time step is left for the output "
                f"block, got {self.history_steps}"
            )
        if self.kept is not None:
            self._check_kept(self.kept)
            if self.kept == self._everything():
                # One network, one config: nothing pruned is said in one way only.
                object.__setattr__(self, "kept", None)

    def __repr__(self) -> str:
        """Say nothing of pruning where nothing was pruned: fingerprints are made of this text."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.to_json().items())
        return f"STGCNConfig({shown})"

    @property
    def output_kernel_size(self) -> int:
        """Time steps left after the blocks: the kernel of the output block."""
        return self.history_steps - 2 * len(self.channels) * (self.temporal_kernel_size - 1)

    @property
    def full_widths(self) -> tuple[int, ...]:
        """Of every prunable layer before any pruning, in the order of ``layers``."""
        inner = [width for block in self.channels for width in (block[1], block[1], block[2])]
        return (*inner, self.channels[-1][2], self.channels[-1][2])

    @property
    def kept_channels(self) -> tuple[Kept, ...]:
        """``kept`` spelled out, also where nothing was pruned."""
        return self._everything() if self.kept is None else self.kept

    @property
    def layers(self) -> tuple[LayerShape, ...]:
        """The prunable layers: first, spatial, second of every block, first, second of the output.

        They are all but the last linear map, in the order in which signals pass them.
        """
        return tuple(self._layers())

    @property
    def parameters(self) -> int:
        """The number of weights, as in Table 1."""
        inner = sum(layer.parameters(self.num_sensors) for layer in self.layers)
        return inner + len(self.kept_channels[-1]) + self.num_sensors

    def with_widths(self, widths: Sequence[int]) -> STGCNConfig:
        """Return the config that keeps the first ``widths`` of the channels of each layer."""
        pairs = zip(self.kept_channels, widths, strict=True)
        return replace(self, kept=tuple(kept[:width] for kept, width in pairs))

    def to_json(self) -> dict[str, Any]:
        """Return plain values; ``from_json`` reads them back. Without ``kept`` where it is None."""
        fields = asdict(self)
        if self.kept is None:
            del fields["kept"]
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> STGCNConfig:
        """Read what ``to_json`` wrote, or JSON of it."""
        channels = tuple(tuple(block) for block in fields["channels"])
        kept = fields.get("kept")
        if kept is not None:
            kept = tuple(tuple(layer) for layer in kept)
        return cls(**{**fields, "channels": channels, "kept": kept})

    def _everything(self) -> tuple[Kept, ...]:
        return tuple(tuple(range(width)) for width in self.full_widths)

    def _check_kept(self, kept: tuple[Kept, ...]) -> None:
        widths = self.full_widths
        if len(kept) != len(widths):
            raise ConfigError(
                f"kept must name the channels of {len(widths)} layers, got {len(kept)}"
            )
        for index, (layer, width) in enumerate(zip(kept, widths, strict=True)):
            ordered = sorted({one for one in layer if 0 <= one < width})
            if not layer or list(layer) != ordered:
                raise ConfigError(
                    f"kept must hold at least one channel per layer, in increasing order and below "
                    f"{width} for layer {index}, got {layer}"
                )

    def _layers(self) -> Iterator[LayerShape]:
        kernel, order = self.temporal_kernel_size, self.chebyshev_order
        kept = iter(self.kept_channels)
        signal: Kept = (0,)
        for index, (wide, hidden, out) in enumerate(self.channels):
            first, spatial, second = next(kept), next(kept), next(kept)
            name, narrows = f"blocks.{index}", (wide > hidden, hidden > out)
            yield LayerShape(f"{name}.first", "glu", kernel, signal, first, narrows[0], False)
            yield LayerShape(f"{name}.spatial", "graph", order, first, spatial, False, False)
            yield LayerShape(f"{name}.second", "relu", kernel, spatial, second, narrows[1], True)
            signal = second
        first, second = next(kept), next(kept)
        size = self.output_kernel_size
        yield LayerShape("output.first", "glu", size, signal, first, False, True)
        yield LayerShape("output.second", "sigmoid", 1, first, second, False, False)
