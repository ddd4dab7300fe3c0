"""Settings of an STGCN in, the shape of each of its layers and their number of weights out.

Pruning makes widths irregular: ``channels`` stay those of the unpruned network, ``kept`` says which
of them are still there. Holds no weights; the network itself is in ``core.stgcn``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any, ClassVar, Final, Literal, get_args

from core.errors import ConfigError

BlockChannels = tuple[int, int, int]
Kept = tuple[int, ...]
"""Of one layer's channels those still there, by their index in the unpruned network, increasing."""

LayerKind = Literal["glu", "relu", "sigmoid", "graph"]
HeadName = Literal["step", "horizon"]
NormName = Literal["sensor", "low_rank"]

TEACHER_CHANNELS = ((1, 32, 64), (64, 32, 128))
PRUNING_BASE_CHANNELS = ((1, 8, 16), (16, 8, 32))
STUDENT_CHANNELS = ((1, 2, 4), (4, 2, 8))
"""Table 1."""


@dataclass(frozen=True)
class NetworkForm:
    """What a network predicts, and what it knows of single sensors; the defaults are the paper's.

    Fields of ``STGCNConfig`` by the same names, whatever the widths.
    """

    head: HeadName = "step"
    """``step``: the next reading, later ones by roll-out; ``horizon``: all of them in one pass."""
    skip: bool = False
    """The newest reading is added to every prediction, so that only the change is learnt."""
    norm: NormName = "sensor"
    """``sensor``: layer norm with a scale and a shift per sensor and channel; ``low_rank``: per
    channel, and for each sensor what it makes of ``sensor_rank`` numbers of that sensor."""
    sensor_rank: int = 4
    """r: numbers per sensor, one table of them for the whole network; of low-rank norms alone."""
    missing_mask: bool = False
    """The network also reads which readings were missing, as a second input channel."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values; without a mask, those from before there were masks."""
        values = asdict(self)
        if not self.missing_mask:
            del values["missing_mask"]
        return values


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

    def parameters(self, norm_parameters: int) -> int:
        """Return the number of weights of the layer and of the layer norm after it.

        Args:
            norm_parameters: of a layer norm, for each of its channels.
        """
        rows = len(self.outgoing) * (2 if self.kind == "glu" else 1)
        convolution = rows * (self.kernel_size * len(self.incoming) + 1)
        residual = len(self.incoming) * len(self.outgoing) if self.projected else 0
        norm = norm_parameters * len(self.outgoing) if self.normed else 0
        return convolution + residual + norm


@dataclass(frozen=True)
class STGCNConfig:
    """The shape of an STGCN."""

    num_sensors: int
    """N."""
    channels: tuple[BlockChannels, ...] = TEACHER_CHANNELS
    """Per ST block: channels in, of the first two layers, out; before any pruning.

    The first reads one channel; a mask (``missing_mask``) comes on top of it."""
    history_steps: int = 12
    """M: time steps the network sees before it predicts the next."""
    temporal_kernel_size: int = 3
    """Kt."""
    chebyshev_order: int = 3
    """Ks."""
    kept: tuple[Kept, ...] | None = None
    """Per prunable layer (``layers``) the channels still there; None: all, nothing was pruned."""
    head: HeadName = "step"
    """See ``NetworkForm``, as for the next four."""
    skip: bool = False
    norm: NormName = "sensor"
    sensor_rank: int = 4
    missing_mask: bool = False
    horizon_steps: int = 9
    """H: time steps that a horizon head predicts; a step head predicts one."""

    family: ClassVar[str] = "stgcn"
    equivariant: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse shapes no network can have."""
        if min(self.num_sensors, self.temporal_kernel_size, self.chebyshev_order) < 1:
            raise ConfigError(
                "num_sensors, temporal_kernel_size and chebyshev_order must be at least 1, got "
                f"{self.num_sensors}, {self.temporal_kernel_size} and {self.chebyshev_order}"
            )
        check_blocks(self.channels)
        if self.output_kernel_size < 1:
            consumed = self.history_steps - self.output_kernel_size
            raise ConfigError(
                f"history_steps must exceed {consumed} so that a time step is left for the output "
                f"block, got {self.history_steps}"
            )
        self._check_form()
        if self.kept is not None:
            check_kept(self.kept, self.full_widths)
        for name in self._unsaid():
            # One network, one config: what has no meaning is said in one way only.
            object.__setattr__(self, name, _DEFAULTS[name])

    def __repr__(self) -> str:
        """Say what ``to_json`` says: fingerprints are made of this text."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.to_json().items())
        return f"STGCNConfig({shown})"

    @property
    def output_kernel_size(self) -> int:
        """Time steps left after the blocks: the kernel of the output block."""
        return self.history_steps - 2 * len(self.channels) * (self.temporal_kernel_size - 1)

    @property
    def input_channels(self) -> int:
        """How many channels are read: the readings, and perhaps which were missing."""
        return 2 if self.missing_mask else 1

    @property
    def full_widths(self) -> tuple[int, ...]:
        """Of every prunable layer before any pruning, in the order of ``layers``."""
        inner = [width for block in self.channels for width in (block[1], block[1], block[2])]
        return (*inner, self.channels[-1][2], self.channels[-1][2])

    @property
    def fewest_widths(self) -> tuple[int, ...]:
        """Of every prunable layer the fewest channels with which it is of use."""
        return (1,) * len(self.full_widths)

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
        per_channel, table = 2 * self.num_sensors, 0
        if self.norm == "low_rank":
            per_channel, table = 2 * (1 + self.sensor_rank), self.sensor_rank * self.num_sensors
        inner = sum(layer.parameters(per_channel) for layer in self.layers)
        head = self.steps_per_pass * (len(self.kept_channels[-1]) + self.head_biases)
        return inner + head + table

    @property
    def steps_per_pass(self) -> int:
        """How many time steps after its window one pass predicts."""
        return self.steps_ahead or 1

    @property
    def steps_ahead(self) -> int | None:
        """H, the axis of time steps that predictions have; None: they have none."""
        return self.horizon_steps if self.head == "horizon" else None

    @property
    def look_back(self) -> tuple[tuple[str, int, int], ...]:
        """Of each layer that looks back in time its name, time steps and channels it reads."""
        looking = [layer for layer in self.layers if layer.kind in {"glu", "relu"}]
        return tuple((one.name, one.kernel_size, len(one.incoming)) for one in looking)

    @property
    def layer_steps(self) -> tuple[int, ...]:
        """Time steps of each block's hidden layers in one window, before, in and after graphs."""
        lost = self.temporal_kernel_size - 1
        before = [self.history_steps - lost * (2 * b + 1) for b in range(len(self.channels))]
        return tuple(steps for first in before for steps in (first, first, first - lost))

    @property
    def head_biases(self) -> int:
        """Of each step predicted: one per sensor, or one where the table knows the sensors."""
        return self.num_sensors if self.norm == "sensor" else 1

    def with_widths(self, widths: Sequence[int]) -> STGCNConfig:
        """Return the config that keeps the first ``widths`` of the channels of each layer."""
        pairs = zip(self.kept_channels, widths, strict=True)
        return replace(self, kept=tuple(kept[:width] for kept, width in pairs))

    def to_json(self) -> dict[str, Any]:
        """Return plain values; ``from_json`` reads them back.

        Without what nothing was pruned from and without what is as in the paper's form: files of
        such networks stay as they always were.
        """
        unsaid = self._unsaid()
        return {name: value for name, value in asdict(self).items() if name not in unsaid}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> STGCNConfig:
        """Read what ``to_json`` wrote, or JSON of it."""
        channels = tuple(tuple(block) for block in fields["channels"])
        kept = fields.get("kept")
        if kept is not None:
            kept = tuple(tuple(layer) for layer in kept)
        return cls(**{**fields, "channels": channels, "kept": kept})

    def _unsaid(self) -> set[str]:
        """Name the fields that are as in the paper's whole network, or have no meaning here."""
        said = {
            "kept": self.kept is not None and self.kept != self._everything(),
            "head": self.head == "horizon",
            "horizon_steps": self.head == "horizon",
            "skip": self.skip,
            "norm": self.norm == "low_rank",
            "sensor_rank": self.norm == "low_rank",
            "missing_mask": self.missing_mask,
        }
        return {name for name, is_said in said.items() if not is_said}

    def _check_form(self) -> None:
        for name, known in (("head", HeadName), ("norm", NormName)):
            if getattr(self, name) not in get_args(known):
                raise ConfigError(
                    f"{name} must be {' or '.join(get_args(known))}, got {getattr(self, name)!r}"
                )
        for name in ("skip", "missing_mask"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if min(self.sensor_rank, self.horizon_steps) < 1:
            raise ConfigError(
                "sensor_rank and horizon_steps must be at least 1, got "
                f"{self.sensor_rank} and {self.horizon_steps}"
            )

    def _everything(self) -> tuple[Kept, ...]:
        return tuple(tuple(range(width)) for width in self.full_widths)

    def _layers(self) -> Iterator[LayerShape]:
        kernel, order = self.temporal_kernel_size, self.chebyshev_order
        kept = iter(self.kept_channels)
        signal, wide = tuple(range(self.input_channels)), self.input_channels
        for index, (_, hidden, out) in enumerate(self.channels):
            first, spatial, second = next(kept), next(kept), next(kept)
            name, narrows = f"blocks.{index}", (wide > hidden, hidden > out)
            yield LayerShape(f"{name}.first", "glu", kernel, signal, first, narrows[0], False)
            yield LayerShape(f"{name}.spatial", "graph", order, first, spatial, False, False)
            yield LayerShape(f"{name}.second", "relu", kernel, spatial, second, narrows[1], True)
            signal, wide = second, out
        first, second = next(kept), next(kept)
        size = self.output_kernel_size
        yield LayerShape("output.first", "glu", size, signal, first, False, True)
        yield LayerShape("output.second", "sigmoid", 1, first, second, False, False)


def check_blocks(channels: tuple[BlockChannels, ...]) -> None:
    """Raise ``ConfigError`` unless each block takes what the one before gives."""
    if not channels or any(len(block) != 3 or min(block) < 1 for block in channels):
        raise ConfigError(
            f"channels must be triples of positive widths, one per block, got {channels}"
        )
    if channels[0][0] != 1 or any(left[2] != right[0] for left, right in pairwise(channels)):
        raise ConfigError(
            "channels must start at 1 and each block must take what the one before gives, "
            f"got {channels}"
        )


def check_kept(kept: tuple[Kept, ...], widths: Sequence[int]) -> None:
    """Raise ``ConfigError`` unless ``kept`` leaves each layer some of its ``widths`` channels."""
    if len(kept) != len(widths):
        raise ConfigError(f"kept must name the channels of {len(widths)} layers, got {len(kept)}")
    for index, (layer, width) in enumerate(zip(kept, widths, strict=True)):
        ordered = sorted({one for one in layer if 0 <= one < width})
        if not layer or list(layer) != ordered:
            raise ConfigError(
                f"kept must hold at least one channel per layer, in increasing order and below "
                f"{width} for layer {index}, got {layer}"
            )


_DEFAULTS: Final = {field.name: field.default for field in fields(STGCNConfig)}
