"""The spatio-temporal graph convolutional network of Yu, Yin and Zhu (IJCAI 2018), whole.

Scaled readings [B, 1, T, N] in, the next reading of every sensor out, or with a horizon head the
next H of them, with the hidden features that distillation compares. Other forms than the paper's
(``core.stgcn_config.NetworkForm``) differ in the head, in a skip past all layers, in their norms
and in reading a mask as well [B, 2, T, N]: which readings were missing. Nothing is padded in time
and layer norm works within one time step, so the network is equivariant to shifts in time: fed a
whole day it predicts every window of that day. For the same reason it can go on from the tails of
its layers, computing only what new columns add. Training, scaling and forecasting by roll-out live
elsewhere.

Axes: B windows, C channels, T time steps, N sensors, K Chebyshev order, H steps ahead, R numbers
of each sensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import ShapeError
from core.shapes import GraphKernel, OtherSignal, Signal
from core.stgcn_config import (
    PRUNING_BASE_CHANNELS,
    STUDENT_CHANNELS,
    TEACHER_CHANNELS,
    BlockChannels,
    Kept,
    LayerShape,
    STGCNConfig,
)

__all__ = [
    "PRUNING_BASE_CHANNELS",
    "STGCN",
    "STUDENT_CHANNELS",
    "TEACHER_CHANNELS",
    "BlockChannels",
    "Features",
    "STGCNConfig",
    "Tails",
]


@dataclass(frozen=True)
class Features:
    """Hidden features of the ST blocks, what Eq. 7-10 compare."""

    temporal: list[OtherSignal]
    """After both temporal convolutions of each block: [B, C, T', N] each."""
    spatial: list[OtherSignal]
    """After the graph convolution of each block."""
    windows_per_segment: int = 1
    """W: B are runs of so many consecutive windows, whose own layers have T' - W + 1 steps."""

    def of_first_blocks(self, blocks: int) -> Features:
        """Return the layers of the first ``blocks`` ST blocks alone."""
        return replace(self, temporal=self.temporal[: 2 * blocks], spatial=self.spatial[:blocks])


Columns = Float[Tensor, "B T C N"]
"""Signals as they lie inside the network: what one time step's layers touch is side by side."""

Tails = Sequence[OtherSignal | None]
"""Per temporal layer the last kernel_size - 1 input columns [B, kernel_size - 1, C, N]; None where
there are none yet, or a layer of kernel_size 1 needs none."""


SKIPPED_HEAD = 0.01
"""With a skip, how large a head's first weights are beside those that do all by themselves."""


class TemporalConvolution(nn.Module):
    """Convolution along time without padding, with GLU, ReLU or sigmoid.

    GLU: (value + residual) * sigmoid(gate). ReLU: relu(value + residual). Sigmoid: no residual.
    A residual drops the first kernel_size - 1 steps. Where the unpruned layer's channel count
    shrinks, it goes through a bias-free 1x1 convolution; else each channel joins the one with the
    same original index, and channels that have none join nothing (zero padding).
    """

    join: Tensor | None

    def __init__(self, shape: LayerShape) -> None:
        """Build for a ``shape`` of kind ``glu``, ``relu`` or ``sigmoid``."""
        super().__init__()
        in_channels, out_channels = len(shape.incoming), len(shape.outgoing)
        self.out_channels, self.kernel_size, self.gate = out_channels, shape.kernel_size, shape.kind
        widened = 2 * out_channels if shape.kind == "glu" else out_channels
        self.weight = nn.Parameter(torch.empty(widened, shape.kernel_size, in_channels))
        self.bias = nn.Parameter(torch.zeros(widened))
        self.residual = (
            nn.Parameter(torch.empty(out_channels, in_channels)) if shape.projected else None
        )
        join = None
        if not (shape.projected or shape.kind == "sigmoid" or _comes_first(shape)):
            # To join a channel is a fixed weight of one at the newest step of the value's row.
            join = torch.zeros_like(self.weight, requires_grad=False)
            join[:out_channels, -1] = _same_channel(shape.outgoing, shape.incoming)
        self.register_buffer("join", join, persistent=False)

    def forward(self, columns: Columns) -> Float[Tensor, "B T2 C2 N"]:
        """Map [B, T, C, N] to [B, T - kernel_size + 1, C', N]."""
        mixed = self._convolve(columns)
        if self.gate == "sigmoid":
            return torch.sigmoid(mixed)
        if self.gate == "relu":
            return torch.relu(self._joined(mixed, columns))
        value, gate = mixed.chunk(2, dim=2)
        return self._joined(value, columns) * torch.sigmoid(gate)

    def _convolve(self, columns: Tensor) -> Tensor:
        B, T, C, N = columns.shape
        steps = T - self.kernel_size + 1
        taps = [columns.narrow(1, tap, steps) for tap in range(self.kernel_size)]
        seen = torch.cat(taps, dim=2).view(B * steps, self.kernel_size * C, N)
        weight = self.weight if self.join is None else self.weight + self.join
        mixed = _mix_channels(weight.flatten(1), seen, self.bias[None, :, None])
        return mixed.view(B, steps, len(self.bias), N)

    def _joined(self, value: Tensor, columns: Tensor) -> Tensor:
        """Add the residual to ``value``, unless it came with the weights."""
        if self.join is not None:
            return value
        first = self.kernel_size - 1
        residual = columns.narrow(1, first, columns.shape[1] - first)
        if self.residual is not None:
            return value + self.residual @ residual
        missing = self.out_channels - residual.shape[2]
        return value + (F.pad(residual, (0, 0, 0, missing)) if missing else residual)


class GraphConvolution(nn.Module):
    """Chebyshev graph convolution with bias, residual and ReLU, the same at every time step.

    The residual joins channels of the same original index.
    """

    join: Tensor | None

    def __init__(self, shape: LayerShape) -> None:
        """Build for a ``shape`` of kind ``graph``; weights are [out, in, order]."""
        super().__init__()
        in_channels, out_channels = len(shape.incoming), len(shape.outgoing)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, shape.kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        same = shape.incoming == shape.outgoing
        join = None if same else _same_channel(shape.outgoing, shape.incoming)
        self.register_buffer("join", join, persistent=False)

    def forward(
        self, columns: Columns, neighbourhoods: Float[Tensor, "N KN"]
    ) -> Float[Tensor, "B T C2 N"]:
        """Map [B, T, C, N] to [B, T, C', N].

        Args:
            columns: the signal.
            neighbourhoods: T_1 .. T_{K-1} side by side, [N, (K - 1) N]; T_0 = I needs no product.
        """
        B, T, C, N = columns.shape
        signal = columns.reshape(B * T, C, N)
        if self.join is None:
            mixed = _mix_channels(self.weight[:, :, 0], signal, signal + self.bias[:, None])
        else:
            own = self.weight[:, :, 0] + self.join
            mixed = _mix_channels(own, signal, self.bias[None, :, None])
        if neighbourhoods.shape[1]:
            # One matrix product gathers all neighbourhoods: [B T C, N] x [N, (K - 1) N].
            gathered = (columns.reshape(-1, N) @ neighbourhoods).view(B * T, -1, N)
            mixed = _mix_channels(self.weight[:, :, 1:].flatten(1), gathered, mixed)
        return torch.relu(mixed).view(B, T, len(self.bias), N)


def _same_channel(outgoing: Kept, incoming: Kept) -> Float[Tensor, "C2 C"]:
    """Return one where row and column are the same original channel, else zero."""
    return (torch.tensor(outgoing)[:, None] == torch.tensor(incoming)).float()


def _comes_first(shape: LayerShape) -> bool:
    """Whether zero padding alone joins the channels: those that come are the first that go."""
    return shape.outgoing[: len(shape.incoming)] == shape.incoming


SensorTable = Float[Tensor, "R N"]
"""What a network with low-rank norms knows of each sensor."""


class NodeLayerNorm(nn.Module):
    """Layer norm over (N, C) of one time step, with a scale and a shift per sensor and channel."""

    def __init__(self, channels: int, num_sensors: int, epsilon: float = 1e-6) -> None:
        """Start as plain normalisation."""
        super().__init__()
        self.epsilon = epsilon
        self.scale = nn.Parameter(torch.ones(channels, num_sensors))
        self.shift = nn.Parameter(torch.zeros(channels, num_sensors))

    def forward(self, columns: Columns, sensors: SensorTable | None) -> Columns:
        """Map [B, T, C, N] to the same shape; ``sensors`` go unused."""
        return F.layer_norm(columns, list(self.scale.shape), self.scale, self.shift, self.epsilon)


class LowRankLayerNorm(nn.Module):
    """Layer norm over (N, C) of one time step, with a scale and a shift per channel.

    To both each sensor adds what a map makes of its numbers in the network's table.
    """

    def __init__(self, channels: int, sensor_rank: int, epsilon: float = 1e-6) -> None:
        """Start as plain normalisation: maps of zeros make nothing of any sensor."""
        super().__init__()
        self.epsilon = epsilon
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.scale_map = nn.Parameter(torch.zeros(channels, sensor_rank))
        self.shift_map = nn.Parameter(torch.zeros(channels, sensor_rank))

    def forward(self, columns: Columns, sensors: SensorTable | None) -> Columns:
        """Map [B, T, C, N] to the same shape, with the network's table of ``sensors`` [R, N]."""
        assert sensors is not None
        # Made once for all time steps, so that this costs what a norm of sensor and channel costs.
        scale = torch.addmm(self.scale[:, None], self.scale_map, sensors)
        shift = torch.addmm(self.shift[:, None], self.shift_map, sensors)
        return F.layer_norm(columns, list(scale.shape), scale, shift, self.epsilon)


def _new_norm(config: STGCNConfig, layer: LayerShape) -> NodeLayerNorm | LowRankLayerNorm:
    channels = len(layer.outgoing)
    if config.norm == "low_rank":
        return LowRankLayerNorm(channels, config.sensor_rank)
    return NodeLayerNorm(channels, config.num_sensors)


def _mix_channels(weight: Tensor, signals: Tensor, added: Tensor) -> Tensor:
    """Return added + weight @ signals for weight [C', C] and signals [B T, C, N], in one pass."""
    return torch.baddbmm(added, weight.expand(signals.shape[0], -1, -1), signals)


class STBlock(nn.Module):
    """Gated temporal convolution, graph convolution, temporal convolution, layer norm."""

    def __init__(self, config: STGCNConfig, layers: Sequence[LayerShape]) -> None:
        """Build the block of the three ``layers``."""
        super().__init__()
        first, spatial, second = layers
        self.first = TemporalConvolution(first)
        self.spatial = GraphConvolution(spatial)
        self.second = TemporalConvolution(second)
        self.norm = _new_norm(config, second)


class OutputBlock(nn.Module):
    """Gated temporal convolution over the steps left, layer norm, 1x1 sigmoid, linear map."""

    def __init__(self, config: STGCNConfig, layers: Sequence[LayerShape]) -> None:
        """Build the block of the two ``layers``."""
        super().__init__()
        first, second = layers
        self.first = TemporalConvolution(first)
        self.norm = _new_norm(config, first)
        self.second = TemporalConvolution(second)
        ahead = [config.steps_per_pass] if config.head == "horizon" else []
        self.weight = nn.Parameter(torch.empty(*ahead, len(second.outgoing)))
        self.bias = nn.Parameter(torch.zeros(*ahead, config.head_biases))

    def head(self, columns: Columns, sensors: SensorTable | None) -> Float[Tensor, "B T *H N"]:
        """Map the gated columns to one value per time step and sensor, or to H of them."""
        hidden: Tensor = self.second(self.norm(columns, sensors))
        if self.weight.ndim == 1:
            return self.weight @ hidden + self.bias
        B, T, _, N = hidden.shape
        ahead = _mix_channels(self.weight, hidden.flatten(0, 1), self.bias[None])
        return ahead.view(B, T, len(self.weight), N)


class STGCN(nn.Module):
    """Two (or more) ST blocks and an output block; predicts what comes after each window."""

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
        check_kernel(graph_kernel, config.chebyshev_order, config.num_sensors)
        self.config = config
        self.register_buffer("graph_kernel", graph_kernel, persistent=False)
        gather = graph_kernel[1:].permute(2, 0, 1).flatten(1)  # [N, (K - 1) N]
        self.register_buffer("neighbourhoods", gather, persistent=False)
        layers = config.layers
        blocks = [layers[at : at + 3] for at in range(0, len(layers) - 2, 3)]
        self.blocks = nn.ModuleList(STBlock(config, block) for block in blocks)
        self.output = OutputBlock(config, layers[-2:])
        self.sensors: nn.Parameter | None = None
        if config.norm == "low_rank":
            self.sensors = nn.Parameter(torch.empty(config.sensor_rank, config.num_sensors))
        self._initialise()

    def signal(
        self, readings: Float[Tensor, "B T N"], missing: Shaped[Tensor, "B T N"] | None = None
    ) -> Signal:
        """Return what the network reads (``signal_of``)."""
        return signal_of(readings, missing, masked=self.config.missing_mask)

    def forward(self, history: Signal) -> tuple[Float[Tensor, "B T2 *H N"], Features]:
        """Predict what comes after every window of ``history_steps`` columns.

        Args:
            history: scaled readings [B, 1, T, N], T >= history_steps; with a mask as ``signal``
                makes them.

        Returns:
            prediction: [B, T - history_steps + 1, N], one per window; of a horizon head
                [B, T - history_steps + 1, H, N].
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
    ) -> tuple[Float[Tensor, "B T2 *H N"], Features, list[Tensor]]:
        """Go on in time: like ``forward`` on all columns so far, computing only the new ones.

        Args:
            columns: new scaled readings [B, 1, T, N], see ``forward``.
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
            signal = block.norm(temporal[-1], self.sensors)
        prediction = self.output.head(convolve(self.output.first, signal), self.sensors)
        if self.config.skip:
            prediction = prediction + self._newest_readings(columns, prediction)
        features = Features(
            [layer.transpose(1, 2) for layer in temporal],
            [layer.transpose(1, 2) for layer in spatial],
        )
        return prediction, features, inputs

    @staticmethod
    def _newest_readings(columns: Signal, prediction: Tensor) -> Tensor:
        """Return the last reading that each prediction has seen, to be added to it."""
        windows = prediction.shape[1]
        newest = columns[:, 0].narrow(1, columns.shape[2] - windows, windows)
        return newest if prediction.ndim == newest.ndim else newest[:, :, None]

    @property
    def st_blocks(self) -> list[STBlock]:
        """The ST blocks in order."""
        return cast("list[STBlock]", list(self.blocks))

    @property
    def temporal_kernel_sizes(self) -> list[int]:
        """Of the temporal layers that look back: two per block and the output block's first."""
        return [size for _, size, _ in self.config.look_back]

    def last_tails(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Cut from the inputs that ``stream`` returned what its next call needs."""
        sizes = self.temporal_kernel_sizes
        return [
            columns.narrow(1, columns.shape[1] - size + 1, size - 1)
            for columns, size in zip(inputs, sizes, strict=True)
        ]

    def _initialise(self) -> None:
        """Glorot-uniform weights and zero biases, as the STGCN authors start.

        With a skip the head's are small, so that the first forecasts repeat the last reading.
        """
        for module in self.modules():
            if isinstance(module, TemporalConvolution):
                out_channels, taps, in_channels = module.weight.shape
                glorot(module.weight, taps * in_channels, taps * out_channels)
                if module.residual is not None:
                    glorot(module.residual, in_channels, module.out_channels)
            elif isinstance(module, GraphConvolution):
                out_channels, in_channels, order = module.weight.shape
                glorot(module.weight, order * in_channels, out_channels)
        *ahead, channels = self.output.weight.shape
        glorot(self.output.weight, channels, ahead[0] if ahead else 1)
        with torch.no_grad():
            if self.config.skip:
                self.output.weight.mul_(SKIPPED_HEAD)
            if self.sensors is not None:
                nn.init.normal_(self.sensors, std=self.config.sensor_rank**-0.5)


def signal_of(
    readings: Float[Tensor, "B T N"], missing: Shaped[Tensor, "B T N"] | None, *, masked: bool
) -> Signal:
    """Return what a network reads: [B, 1, T, N], or [B, 2, T, N] with a mask.

    Args:
        readings: scaled, without gaps.
        missing: one or True where they were filled; None: none was missing.
        masked: whether the network has a mask; others do not read ``missing``.
    """
    if not masked:
        return readings[:, None]
    mask = torch.zeros_like(readings) if missing is None else missing.to(readings.dtype)
    return torch.stack([readings, mask], dim=1)


def check_kernel(graph_kernel: Tensor, order: int, num_sensors: int) -> None:
    """Raise ``ShapeError`` unless it is a kernel [order, N, N] that begins with T_0 = I."""
    expected = [order, num_sensors, num_sensors]
    if list(graph_kernel.shape) != expected:
        raise ShapeError(
            f"graph_kernel must have shape {expected} to fit the config, "
            f"got {list(graph_kernel.shape)}"
        )
    if not torch.equal(graph_kernel[0], torch.eye(num_sensors).to(graph_kernel)):
        raise ShapeError(
            "graph_kernel must begin with T_0 = I, got another matrix; "
            "make it with core.graph.chebyshev_stack"
        )


def glorot(weight: Tensor, fan_in: int, fan_out: int) -> None:
    """Fill ``weight`` uniformly between -b and b, b^2 = 6 / (fan_in + fan_out)."""
    bound = (6.0 / (fan_in + fan_out)) ** 0.5
    nn.init.uniform_(weight, -bound, bound)
