"""The spatio-temporal graph convolutional network of Yu, Yin and Zhu (IJCAI 2018), whole.

Scaled readings [B, 1, T, N] in, the next reading of every sensor out, with the hidden features
that distillation compares. Nothing is padded in time and layer norm works within one time step, so
the network is equivariant to shifts in time: fed a whole day it predicts every window of that day.
For the same reason it can go on from the tails of its layers, computing only what new columns add.
Training, scaling and forecasting several steps ahead live elsewhere.

Axes: B windows, C channels, T time steps, N sensors, K Chebyshev order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import ConfigError, ShapeError
from core.shapes import GraphKernel, OtherSignal, Signal

BlockChannels = tuple[int, int, int]

TEACHER_CHANNELS = ((1, 32, 64), (64, 32, 128))
PRUNING_BASE_CHANNELS = ((1, 8, 16), (16, 8, 32))
STUDENT_CHANNELS = ((1, 2, 4), (4, 2, 8))
"""Table 1."""


@dataclass(frozen=True)
class STGCNConfig:
    """The shape of an STGCN."""

    num_sensors: int
    """N."""
    channels: tuple[BlockChannels, ...] = TEACHER_CHANNELS
    """Per ST block: channels in, of the first two layers, out."""
    history_steps: int = 12
    """M: time steps the network sees before it predicts the next."""
    temporal_kernel_size: int = 3
    """Kt."""
    chebyshev_order: int = 3
    """Ks."""

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

    @property
    def output_kernel_size(self) -> int:
        """Time steps left after the blocks: the kernel of the output block."""
        return self.history_steps - 2 * len(self.channels) * (self.temporal_kernel_size - 1)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; ``from_json`` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> STGCNConfig:
        """Read what ``to_json`` wrote, or JSON of it."""
        channels = tuple(tuple(block) for block in fields["channels"])
        return cls(**{**fields, "channels": channels})


@dataclass(frozen=True)
class Features:
    """Hidden features of the ST blocks, what Eq. 7-10 compare."""

    temporal: list[OtherSignal]
    """After both temporal convolutions of each block: [B, C, T', N] each."""
    spatial: list[OtherSignal]
    """After the graph convolution of each block."""
    windows_per_segment: int = 1
    """W: B are runs of so many consecutive windows, whose own layers have T' - W + 1 steps."""


Columns = Float[Tensor, "B T C N"]
"""Signals as they lie inside the network: what one time step's layers touch is side by side."""

Tails = Sequence[OtherSignal]
"""Per temporal layer the last kernel_size - 1 input columns [B, kernel_size - 1, C, N]."""


class TemporalConvolution(nn.Module):
    """Convolution along time without padding, with GLU, ReLU or sigmoid.

    GLU: (value + residual) * sigmoid(gate). ReLU: relu(value + residual). Sigmoid: no residual.
    A residual whose channel count grows is zero-padded, one that shrinks goes through a bias-free
    1x1 convolution; it drops the first kernel_size - 1 steps.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, gate: str) -> None:
        """Build for ``gate`` in ``glu``, ``relu``, ``sigmoid``."""
        super().__init__()
        self.out_channels, self.kernel_size, self.gate = out_channels, kernel_size, gate
        widened = 2 * out_channels if gate == "glu" else out_channels
        self.weight = nn.Parameter(torch.empty(widened, kernel_size, in_channels))
        self.bias = nn.Parameter(torch.zeros(widened))
        self.residual = (
            nn.Parameter(torch.empty(out_channels, in_channels))
            if in_channels > out_channels and gate != "sigmoid"
            else None
        )

    def forward(self, columns: Columns) -> Float[Tensor, "B T2 C2 N"]:
        """Map [B, T, C, N] to [B, T - kernel_size + 1, C', N]."""
        mixed = self._convolve(columns)
        if self.gate == "sigmoid":
            return torch.sigmoid(mixed)
        residual = self._residual(columns[:, self.kernel_size - 1 :])
        if self.gate == "relu":
            return torch.relu(mixed + residual)
        value, gate = mixed.chunk(2, dim=2)
        return (value + residual) * torch.sigmoid(gate)

    def _convolve(self, columns: Tensor) -> Tensor:
        B, T, C, N = columns.shape
        steps = T - self.kernel_size + 1
        taps = [columns[:, tap : tap + steps] for tap in range(self.kernel_size)]
        seen = torch.cat(taps, dim=2).view(B * steps, self.kernel_size * C, N)
        mixed = _mix_channels(self.weight.flatten(1), seen, self.bias[None, :, None])
        return mixed.view(B, steps, len(self.bias), N)

    def _residual(self, columns: Tensor) -> Tensor:
        if self.residual is not None:
            return self.residual @ columns
        missing = self.out_channels - columns.shape[2]
        return F.pad(columns, (0, 0, 0, missing)) if missing else columns


class GraphConvolution(nn.Module):
    """Chebyshev graph convolution with bias, residual and ReLU, the same at every time step."""

    def __init__(self, channels: int, order: int) -> None:
        """Keep ``channels``; weights are [out, in, order]."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, order))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, columns: Columns, neighbourhoods: Float[Tensor, "N KN"]) -> Columns:
        """Map [B, T, C, N] to the same shape.

        Args:
            columns: the signal.
            neighbourhoods: T_1 .. T_{K-1} side by side, [N, (K - 1) N]; T_0 = I needs no product.
        """
        B, T, C, N = columns.shape
        signal = columns.reshape(B * T, C, N)
        mixed = _mix_channels(self.weight[:, :, 0], signal, signal + self.bias[:, None])
        if neighbourhoods.shape[1]:
            # One matrix product gathers all neighbourhoods: [B T C, N] x [N, (K - 1) N].
            gathered = (columns.reshape(-1, N) @ neighbourhoods).view(B * T, -1, N)
            mixed = _mix_channels(self.weight[:, :, 1:].flatten(1), gathered, mixed)
        return torch.relu(mixed).view(B, T, C, N)


class NodeLayerNorm(nn.Module):
    """Layer norm over (N, C) of one time step, with a scale and a shift per sensor and channel."""

    def __init__(self, channels: int, num_sensors: int, epsilon: float = 1e-6) -> None:
        """Start as plain normalisation."""
        super().__init__()
        self.epsilon = epsilon
        self.scale = nn.Parameter(torch.ones(channels, num_sensors))
        self.shift = nn.Parameter(torch.zeros(channels, num_sensors))

    def forward(self, columns: Columns) -> Columns:
        """Map [B, T, C, N] to the same shape."""
        return F.layer_norm(columns, list(self.scale.shape), self.scale, self.shift, self.epsilon)


def _mix_channels(weight: Tensor, signals: Tensor, added: Tensor) -> Tensor:
    """Return added + weight @ signals for weight [C', C] and signals [B T, C, N], in one pass."""
    return torch.baddbmm(added, weight.expand(signals.shape[0], -1, -1), signals)


class STBlock(nn.Module):
    """Gated temporal convolution, graph convolution, temporal convolution, layer norm."""

    def __init__(self, config: STGCNConfig, channels: BlockChannels) -> None:
        """Build the block with widths ``channels``."""
        super().__init__()
        incoming, hidden, outgoing = channels
        self.first = TemporalConvolution(incoming, hidden, config.temporal_kernel_size, "glu")
        self.spatial = GraphConvolution(hidden, config.chebyshev_order)
        self.second = TemporalConvolution(hidden, outgoing, config.temporal_kernel_size, "relu")
        self.norm = NodeLayerNorm(outgoing, config.num_sensors)


class OutputBlock(nn.Module):
    """Gated temporal convolution over the steps left, layer norm, 1x1 sigmoid, linear map."""

    def __init__(self, config: STGCNConfig) -> None:
        """Build for the channels that the last block gives."""
        super().__init__()
        width = config.channels[-1][2]
        self.first = TemporalConvolution(width, width, config.output_kernel_size, "glu")
        self.norm = NodeLayerNorm(width, config.num_sensors)
        self.second = TemporalConvolution(width, width, 1, "sigmoid")
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.zeros(config.num_sensors))

    def head(self, columns: Columns) -> Float[Tensor, "B T N"]:
        """Map the gated columns to one value per time step and sensor."""
        hidden: Tensor = self.second(self.norm(columns))
        return self.weight @ hidden + self.bias


class STGCN(nn.Module):
    """Two (or more) ST blocks and an output block; predicts the reading after each window."""

    graph_kernel: Tensor
    neighbourhoods: Tensor

    def __init__(self, config: STGCNConfig, graph_kernel: GraphKernel) -> None:
        """Build with freshly initialised weights from torch's generator.

        Args:
            config: the shape.
            graph_kernel: [chebyshev_order, N, N], T_0 = I first (``chebyshev_stack``); kept as a
                buffer, not as a parameter.
        """
        super().__init__()
        expected = (config.chebyshev_order, config.num_sensors, config.num_sensors)
        if tuple(graph_kernel.shape) != expected:
            raise ShapeError(
                f"graph_kernel must have shape {list(expected)} to fit the config, "
                f"got {list(graph_kernel.shape)}"
            )
        if not torch.equal(graph_kernel[0], torch.eye(len(graph_kernel[0])).to(graph_kernel)):
            raise ShapeError(
                "graph_kernel must begin with T_0 = I, got another matrix; "
                "make it with core.graph.chebyshev_stack"
            )
        self.config = config
        self.register_buffer("graph_kernel", graph_kernel, persistent=False)
        gather = graph_kernel[1:].permute(2, 0, 1).flatten(1)  # [N, (K - 1) N]
        self.register_buffer("neighbourhoods", gather, persistent=False)
        self.blocks = nn.ModuleList(STBlock(config, widths) for widths in config.channels)
        self.output = OutputBlock(config)
        self._initialise()

    def forward(self, history: Signal) -> tuple[Float[Tensor, "B T2 N"], Features]:
        """Predict the reading after every window of ``history_steps`` columns.

        Args:
            history: scaled readings [B, 1, T, N], T >= history_steps.

        Returns:
            prediction: [B, T - history_steps + 1, N], one per window.
            features: hidden layers of the same pass.
        """
        if history.shape[2] < self.config.history_steps:
            raise ShapeError(
                f"history needs at least {self.config.history_steps} time steps, "
                f"got {history.shape[2]}"
            )
        prediction, features, _ = self.stream(history, None)
        return prediction, features

    def stream(
        self, columns: Signal, tails: Tails | None
    ) -> tuple[Float[Tensor, "B T2 N"], Features, list[Tensor]]:
        """Go on in time: like ``forward`` on all columns so far, computing only the new ones.

        Args:
            columns: new scaled readings [B, 1, T, N].
            tails: per layer of ``temporal_kernel_sizes`` its last kernel_size - 1 input columns,
                as ``last_tails`` cuts them from an earlier call's inputs; None at the start.

        Returns:
            Predictions after each column that completes a window, the features of the new columns,
            and every temporal layer's input [B, T, C, N], tail included.
        """
        temporal, spatial, inputs = [], [], []
        layers = iter(tails if tails is not None else [None] * len(self.temporal_kernel_sizes))

        def convolve(layer: nn.Module, columns: Tensor) -> Tensor:
            tail = next(layers)
            inputs.append(columns if tail is None else torch.cat([tail, columns], dim=1))
            convolved: Tensor = layer(inputs[-1])
            return convolved

        signal = columns.transpose(1, 2)
        for block in self.st_blocks:
            temporal.append(convolve(block.first, signal))
            spatial.append(block.spatial(temporal[-1], self.neighbourhoods))
            temporal.append(convolve(block.second, spatial[-1]))
            signal = block.norm(temporal[-1])
        prediction = self.output.head(convolve(self.output.first, signal))
        features = Features(
            [layer.transpose(1, 2) for layer in temporal],
            [layer.transpose(1, 2) for layer in spatial],
        )
        return prediction, features, inputs

    @property
    def st_blocks(self) -> list[STBlock]:
        """The ST blocks in order."""
        return cast("list[STBlock]", list(self.blocks))

    @property
    def temporal_kernel_sizes(self) -> list[int]:
        """Of the temporal layers that look back: two per block and the output block's first."""
        inner = [self.config.temporal_kernel_size] * (2 * len(self.blocks))
        return [*inner, self.config.output_kernel_size]

    def last_tails(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Cut from the inputs that ``stream`` returned what its next call needs."""
        sizes = self.temporal_kernel_sizes
        return [
            columns[:, columns.shape[1] - size + 1 :]
            for columns, size in zip(inputs, sizes, strict=True)
        ]

    def _initialise(self) -> None:
        """Glorot-uniform weights and zero biases, as the STGCN authors start."""
        for module in self.modules():
            if isinstance(module, TemporalConvolution):
                out_channels, taps, in_channels = module.weight.shape
                _glorot(module.weight, taps * in_channels, taps * out_channels)
                if module.residual is not None:
                    _glorot(module.residual, in_channels, module.out_channels)
            elif isinstance(module, GraphConvolution):
                out_channels, in_channels, order = module.weight.shape
                _glorot(module.weight, order * in_channels, out_channels)
        _glorot(self.output.weight, len(self.output.weight), 1)


def _glorot(weight: Tensor, fan_in: int, fan_out: int) -> None:
    bound = (6.0 / (fan_in + fan_out)) ** 0.5
    nn.init.uniform_(weight, -bound, bound)
