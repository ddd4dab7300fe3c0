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


Tails = Sequence[Signal]
"""Per temporal layer the last kernel_size - 1 input columns [B, C, kernel_size - 1, N]."""


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
        self.convolution = nn.Conv2d(in_channels, widened, (kernel_size, 1))
        self.residual = (
            nn.Conv2d(in_channels, out_channels, 1, bias=False)
            if in_channels > out_channels and gate != "sigmoid"
            else None
        )

    def forward(self, signal: Signal) -> Float[Tensor, "B C2 T2 N"]:
        """Map [B, C, T, N] to [B, C', T - kernel_size + 1, N]."""
        mixed: Tensor = self.convolution(signal)
        if self.gate == "sigmoid":
            return torch.sigmoid(mixed)
        residual = self._residual(signal[:, :, self.kernel_size - 1 :])
        if self.gate == "relu":
            return torch.relu(mixed + residual)
        value, gate = mixed.chunk(2, dim=1)
        return (value + residual) * torch.sigmoid(gate)

    def _residual(self, signal: Tensor) -> Tensor:
        if self.residual is not None:
            projected: Tensor = self.residual(signal)
            return projected
        missing = self.out_channels - signal.shape[1]
        return F.pad(signal, (0, 0, 0, 0, 0, missing)) if missing else signal


class GraphConvolution(nn.Module):
    """Chebyshev graph convolution with bias, residual and ReLU, the same at every time step."""

    def __init__(self, channels: int, order: int) -> None:
        """Keep ``channels``; weights are [order, in, out]."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(order, channels, channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, signal: Signal, graph_kernel: GraphKernel) -> Signal:
        """Map [B, C, T, N] to the same shape."""
        B, C, T, N = signal.shape
        K = len(graph_kernel)
        # One matrix product gathers all neighbourhoods: [B C T, N] x [N, K N].
        gathered = signal.reshape(-1, N) @ graph_kernel.permute(2, 0, 1).reshape(N, K * N)
        mixed = torch.einsum("bctkn,kcd->bdtn", gathered.view(B, C, T, K, N), self.weight)
        return torch.relu(mixed + self.bias[:, None, None] + signal)


class NodeLayerNorm(nn.Module):
    """Layer norm over (N, C) of one time step, with a scale and a shift per sensor and channel."""

    def __init__(self, channels: int, num_sensors: int, epsilon: float = 1e-6) -> None:
        """Start as plain normalisation."""
        super().__init__()
        self.epsilon = epsilon
        self.scale = nn.Parameter(torch.ones(channels, num_sensors))
        self.shift = nn.Parameter(torch.zeros(channels, num_sensors))

    def forward(self, signal: Signal) -> Signal:
        """Map [B, C, T, N] to the same shape."""
        variance, mean = torch.var_mean(signal, dim=(1, 3), correction=0, keepdim=True)
        normalised = (signal - mean) * torch.rsqrt(variance + self.epsilon)
        return normalised * self.scale[:, None] + self.shift[:, None]


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

    def head(self, signal: Signal) -> Float[Tensor, "B T N"]:
        """Map the gated signal to one value per time step and sensor."""
        hidden = self.second(self.norm(signal))
        return torch.einsum("bctn,c->btn", hidden, self.weight) + self.bias


class STGCN(nn.Module):
    """Two (or more) ST blocks and an output block; predicts the reading after each window."""

    graph_kernel: Tensor

    def __init__(self, config: STGCNConfig, graph_kernel: GraphKernel) -> None:
        """Build with freshly initialised weights from torch's generator.

        Args:
            config: the shape.
            graph_kernel: [chebyshev_order, N, N]; kept as a buffer, not as a parameter.
        """
        super().__init__()
        expected = (config.chebyshev_order, config.num_sensors, config.num_sensors)
        if tuple(graph_kernel.shape) != expected:
            raise ShapeError(
                f"graph_kernel must have shape {list(expected)} to fit the config, "
                f"got {list(graph_kernel.shape)}"
            )
        self.config = config
        self.register_buffer("graph_kernel", graph_kernel, persistent=False)
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
    ) -> tuple[Float[Tensor, "B T2 N"], Features, list[Signal]]:
        """Go on in time: like ``forward`` on all columns so far, computing only the new ones.

        Args:
            columns: new scaled readings [B, 1, T, N].
            tails: per layer of ``temporal_kernel_sizes`` its last kernel_size - 1 input columns,
                as ``last_tails`` cuts them from an earlier call's inputs; None at the start.

        Returns:
            Predictions after each column that completes a window, the features of the new columns,
            and every temporal layer's input, tail included.
        """
        temporal, spatial, inputs = [], [], []
        layers = iter(tails if tails is not None else [None] * len(self.temporal_kernel_sizes))

        def convolve(layer: nn.Module, signal: Tensor) -> Tensor:
            tail = next(layers)
            inputs.append(signal if tail is None else torch.cat([tail, signal], dim=2))
            convolved: Tensor = layer(inputs[-1])
            return convolved

        signal = columns
        for block in self.st_blocks:
            temporal.append(convolve(block.first, signal))
            spatial.append(block.spatial(temporal[-1], self.graph_kernel))
            temporal.append(convolve(block.second, spatial[-1]))
            signal = block.norm(temporal[-1])
        prediction = self.output.head(convolve(self.output.first, signal))
        return prediction, Features(temporal, spatial), inputs

    @property
    def st_blocks(self) -> list[STBlock]:
        """The ST blocks in order."""
        return cast("list[STBlock]", list(self.blocks))

    @property
    def temporal_kernel_sizes(self) -> list[int]:
        """Of the temporal layers that look back: two per block and the output block's first."""
        inner = [self.config.temporal_kernel_size] * (2 * len(self.blocks))
        return [*inner, self.config.output_kernel_size]

    def last_tails(self, inputs: Sequence[Signal]) -> list[Signal]:
        """Cut from the inputs that ``stream`` returned what its next call needs."""
        sizes = self.temporal_kernel_sizes
        return [
            signal[:, :, signal.shape[2] - size + 1 :]
            for signal, size in zip(inputs, sizes, strict=True)
        ]

    def _initialise(self) -> None:
        """Glorot-uniform weights and zero biases, as the STGCN authors start."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, GraphConvolution):
                order, incoming, outgoing = module.weight.shape
                bound = (6.0 / (order * incoming + outgoing)) ** 0.5
                nn.init.uniform_(module.weight, -bound, bound)
        width = len(self.output.weight)
        bound = (6.0 / (width + 1)) ** 0.5
        nn.init.uniform_(self.output.weight, -bound, bound)
