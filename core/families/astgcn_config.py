"""Settings of an ASTGCN in, the shape of each prunable layer and the number of weights out.

As in ``core.stgcn_config``, ``channels`` stay those of the unpruned network and ``kept`` says which
of them are still there. Holds no weights; the network itself is in ``core.families.astgcn``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Final

from core.errors import ConfigError
from core.stgcn_config import BlockChannels, Kept, LayerShape, check_blocks, check_kept

FEWEST_NORMED: Final = 2
"""Channels of a block's last layer at least: the norm of one is the same whatever it read."""


@dataclass(frozen=True)
class ASTGCNConfig:
    """The shape of an ASTGCN."""

    num_sensors: int
    """N."""
    channels: tuple[BlockChannels, ...] = ((1, 32, 32), (32, 32, 32))
    """Per block: channels in, filters of the graph convolution, filters of the convolution along
    time; before any pruning. The first reads one channel; a mask comes on top of it. The authors'
    have 64 filters everywhere."""
    history_steps: int = 12
    """M: time steps of the window that both attentions look at."""
    temporal_kernel_size: int = 3
    """Kt, odd: the convolution along time is padded to keep all steps."""
    chebyshev_order: int = 3
    """K."""
    kept: tuple[Kept, ...] | None = None
    """Per prunable layer (``layers``) the channels still there; None: all, nothing was pruned."""
    skip: bool = False
    """The newest reading is added to every prediction, so that only the change is learnt."""
    missing_mask: bool = False
    """The network also reads which readings were missing, as a second input channel."""
    horizon_steps: int = 9
    """H: time steps that one pass predicts."""

    family: ClassVar[str] = "astgcn"
    equivariant: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse shapes no network can have."""
        for name in ("num_sensors", "history_steps", "chebyshev_order", "horizon_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.temporal_kernel_size < 1 or self.temporal_kernel_size % 2 == 0:
            raise ConfigError(
                "temporal_kernel_size must be odd, so that padding keeps all time steps, got "
                f"{self.temporal_kernel_size}"
            )
        for name in ("skip", "missing_mask"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, got {getattr(self, name)!r}")
        self._check_channels()

    def _check_channels(self) -> None:
        check_blocks(self.channels)
        if self.kept is not None:
            check_kept(self.kept, self.full_widths)
            if self.kept == self._everything():
                object.__setattr__(self, "kept", None)  # one network, one config
        normed = [len(kept) for kept in self.kept_channels[1::2]]
        if min(normed) < FEWEST_NORMED:
            raise ConfigError(
                f"the last layer of every block needs at least {FEWEST_NORMED} channels, since the "
                f"norm of one is always the same, got {normed}"
            )

    def __repr__(self) -> str:
        """Say what ``to_json`` says: fingerprints are made of this text."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.to_json().items())
        return f"ASTGCNConfig({shown})"

    @property
    def input_channels(self) -> int:
        """How many channels are read: the readings, and perhaps which were missing."""
        return 2 if self.missing_mask else 1

    @property
    def full_widths(self) -> tuple[int, ...]:
        """Of every prunable layer before any pruning, in the order of ``layers``."""
        return tuple(width for block in self.channels for width in block[1:])

    @property
    def fewest_widths(self) -> tuple[int, ...]:
        """Of every prunable layer the fewest channels with which it is of use."""
        return (1, FEWEST_NORMED) * len(self.channels)

    @property
    def kept_channels(self) -> tuple[Kept, ...]:
        """``kept`` spelled out, also where nothing was pruned."""
        return self._everything() if self.kept is None else self.kept

    @property
    def layers(self) -> tuple[LayerShape, ...]:
        """The prunable layers: graph convolution and convolution along time of every block.

        Attentions have no channels of their own, so what they cost per sensor cannot be pruned.
        """
        return tuple(self._layers())

    @property
    def parameters(self) -> int:
        """The number of weights."""
        N, T, signal = self.num_sensors, self.history_steps, self.input_channels
        total = self.horizon_steps * (T * len(self.kept_channels[-1]) + 1)
        for spatial, temporal in zip(self.layers[::2], self.layers[1::2], strict=True):
            attentions = N + signal * (N + T + 2) + T + 2 * (T * T + N * N)
            residual = signal * len(temporal.outgoing)
            convolutions = sum(len(one.outgoing) for one in (spatial, temporal)) + sum(
                one.kernel_size * len(one.incoming) * len(one.outgoing)
                for one in (spatial, temporal)
            )
            signal = len(temporal.outgoing)
            total += attentions + convolutions + residual + 2 * signal
        return total

    @property
    def steps_per_pass(self) -> int:
        """How many time steps after its window one pass predicts."""
        return self.horizon_steps

    @property
    def steps_ahead(self) -> int:
        """H, the axis of time steps that predictions have."""
        return self.horizon_steps

    @property
    def look_back(self) -> tuple[tuple[str, int, int], ...]:
        """Of what looks back in time its name, time steps and channels: the window itself."""
        return (("input", self.history_steps, self.input_channels),)

    @property
    def layer_steps(self) -> tuple[int, ...]:
        """Time steps of each block's hidden layers in one window, before, in and after graphs."""
        return (self.history_steps,) * (3 * len(self.channels))

    def with_widths(self, widths: Sequence[int]) -> ASTGCNConfig:
        """Return the config that keeps the first ``widths`` of the channels of each layer."""
        pairs = zip(self.kept_channels, widths, strict=True)
        return replace(self, kept=tuple(kept[:width] for kept, width in pairs))

    def to_json(self) -> dict[str, Any]:
        """Return plain values with the name of the family; ``from_json`` reads them back."""
        values = {"family": self.family, **asdict(self)}
        if self.kept is None:
            del values["kept"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ASTGCNConfig:
        """Read what ``to_json`` wrote, or JSON of it."""
        known = {field.name for field in fields(cls)} | {"family"}
        unknown = sorted(values.keys() - known)
        if unknown:
            raise ConfigError(f"an ASTGCN has no setting {unknown[0]!r}")
        given = {name: value for name, value in values.items() if name != "family"}
        given["channels"] = tuple(tuple(block) for block in given["channels"])
        if given.get("kept") is not None:
            given["kept"] = tuple(tuple(layer) for layer in given["kept"])
        return cls(**given)

    def _everything(self) -> tuple[Kept, ...]:
        return tuple(tuple(range(width)) for width in self.full_widths)

    def _layers(self) -> Iterator[LayerShape]:
        kept, signal = iter(self.kept_channels), tuple(range(self.input_channels))
        size, order = self.temporal_kernel_size, self.chebyshev_order
        for index in range(len(self.channels)):
            spatial, temporal = next(kept), next(kept)
            name = f"blocks.{index}"
            yield LayerShape(f"{name}.spatial", "graph", order, signal, spatial, False, False)
            yield LayerShape(f"{name}.temporal", "relu", size, spatial, temporal, True, True)
            signal = temporal
