"""The attention-based spatio-temporal graph convolutional network of Guo et al. (AAAI 2019), whole.

Scaled readings [B, 1, T, N] in, the next H readings of every sensor out, with the hidden features
that distillation compares. Of the paper's three components the recent one alone. Both attentions
look at a whole window of M time steps and its convolution along time is padded, so nothing of one
window can be used for the next: this network is not equivariant to shifts in time, and going on in
time costs a whole pass per row. Training and scaling live elsewhere.

As in the authors' code, which made their results, and unlike their text: the graph convolution
reads the signal itself, not the one that temporal attention mixed, and temporal attention is
normalised over the steps it mixes. As in their text and unlike their code, which normalises columns
and transposes: a sensor takes from others what its row of S says. Ours alone: STGCN's graph and
normalised Laplacian (their code: D - W of unweighted edges), skip and mask; a bias of the graph
convolution, and one bias for convolution and residual, where theirs has two.

Axes: B windows, C channels, T time steps, N sensors, K Chebyshev order, H steps ahead, M history.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import ShapeError
from core.families.astgcn_config import ASTGCNConfig
from core.shapes import GraphKernel, Signal
from core.stgcn import (
    SKIPPED_HEAD,
    Columns,
    Features,
    Tails,
    check_kernel,
    glorot,
    signal_of,
)
from core.stgcn_config import LayerShape

__all__ = ["ASTGCN", "ASTGCNConfig"]


class TemporalAttention(nn.Module):
    """E = softmax(V sigmoid((x U1) U2 (U3 x) + b)): how much each step takes from each other."""

    def __init__(self, channels: int, config: ASTGCNConfig) -> None:
        """Build for signals of so many channels."""
        super().__init__()
        N, T = config.num_sensors, config.history_steps
        self.first = nn.Parameter(torch.empty(N))
        self.second = nn.Parameter(torch.empty(channels, N))
        self.third = nn.Parameter(torch.empty(channels))
        self.weight = nn.Parameter(torch.empty(T, T))
        self.bias = nn.Parameter(torch.zeros(T, T))

    def forward(self, columns: Columns) -> Float[Tensor, "B T T"]:
        """Map [B, T, C, N] to weights [B, T, T]; those of one column sum to one."""
        left = (columns @ self.first[:, None])[..., 0] @ self.second  # [B, T, N]
        right = (self.third[None] @ columns)[:, :, 0]  # [B, T, N]
        scores = self.weight @ torch.sigmoid(left @ right.transpose(1, 2) + self.bias)
        return torch.softmax(scores, dim=1)


class SpatialAttention(nn.Module):
    """S = softmax(V sigmoid((x W1) W2 (W3 x) + b)): how much each sensor takes from each other."""

    def __init__(self, channels: int, config: ASTGCNConfig) -> None:
        """Build for signals of so many channels."""
        super().__init__()
        N, T = config.num_sensors, config.history_steps
        self.first = nn.Parameter(torch.empty(T))
        self.second = nn.Parameter(torch.empty(channels, T))
        self.third = nn.Parameter(torch.empty(channels))
        self.weight = nn.Parameter(torch.empty(N, N))
        self.bias = nn.Parameter(torch.zeros(N, N))

    def forward(self, columns: Columns) -> Float[Tensor, "B N N"]:
        """Map [B, T, C, N] to weights [B, N, N]; those of one row sum to one."""
        B, _, C, N = columns.shape
        mixed = (self.first[None] @ columns.flatten(2)).view(B, C, N)
        left = mixed.transpose(1, 2) @ self.second  # [B, N, T]
        right = (self.third[None] @ columns)[:, :, 0]  # [B, T, N]
        scores = self.weight @ torch.sigmoid(left @ right + self.bias)
        return torch.softmax(scores, dim=2)


class AttendedGraphConvolution(nn.Module):
    """relu(sum over k of theta_k (T_k * S) x + bias), the same at every time step of a window."""

    def __init__(self, shape: LayerShape) -> None:
        """Build for a ``shape`` of kind ``graph``; weights are [out, in, order]."""
        super().__init__()
        in_channels, out_channels = len(shape.incoming), len(shape.outgoing)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, shape.kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(
        self, columns: Columns, attention: Float[Tensor, "B N N"], graph_kernel: GraphKernel
    ) -> Float[Tensor, "B T C2 N"]:
        """Map [B, T, C, N] to [B, T, C', N]."""
        B, T, C, N = columns.shape
        signal = columns.reshape(B, T * C, N)
        # T_0 = I leaves each sensor its own weight.
        gathered = [signal * (attention * graph_kernel[0]).sum(dim=2)[:, None]]
        for order in graph_kernel[1:]:
            gathered.append(signal @ (order * attention).transpose(1, 2))
        seen = torch.stack(gathered, dim=2).view(B * T, C * len(gathered), N)
        return torch.relu(_mixed(self.weight, self.bias, seen)).view(B, T, len(self.bias), N)


class PaddedConvolution(nn.Module):
    """relu(convolution along time + 1x1 map of the block's input), as many steps as before."""

    def __init__(self, shape: LayerShape, block_channels: int) -> None:
        """Build for a ``shape`` of kind ``relu`` in a block that takes ``block_channels``."""
        super().__init__()
        in_channels, out_channels = len(shape.incoming), len(shape.outgoing)
        self.weight = nn.Parameter(torch.empty(out_channels, shape.kernel_size, in_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.residual = nn.Parameter(torch.empty(out_channels, block_channels))

    def forward(self, columns: Columns, block_input: Float[Tensor, "B T C3 N"]) -> Tensor:
        """Map [B, T, C, N] to [B, T, C', N]."""
        B, T, _, N = columns.shape
        size = self.weight.shape[1]
        padded = F.pad(columns, (0, 0, 0, 0, size // 2, size // 2))
        taps = torch.cat([padded.narrow(1, tap, T) for tap in range(size)], dim=2)
        mixed = _mixed(self.weight, self.bias, taps.view(B * T, -1, N)).view(B, T, -1, N)
        return torch.relu(mixed + self.residual @ block_input)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of one sensor and time step."""

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        """Start as plain normalisation."""
        super().__init__()
        self.epsilon = epsilon
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, columns: Columns) -> Columns:
        """Map [B, T, C, N] to the same shape."""
        last = columns.transpose(2, 3)
        normed = F.layer_norm(last, [len(self.scale)], self.scale, self.shift, self.epsilon)
        return normed.transpose(2, 3)


class AttentionBlock(nn.Module):
    """Both attentions, graph convolution, convolution along time with a residual, layer norm."""

    def __init__(self, config: ASTGCNConfig, layers: Sequence[LayerShape]) -> None:
        """Build the block of the two ``layers``."""
        super().__init__()
        spatial, temporal = layers
        channels = len(spatial.incoming)
        self.steps = TemporalAttention(channels, config)
        self.sensors = SpatialAttention(channels, config)
        self.spatial = AttendedGraphConvolution(spatial)
        self.temporal = PaddedConvolution(temporal, channels)
        self.norm = ChannelNorm(len(temporal.outgoing))

    def forward(self, columns: Columns, graph_kernel: GraphKernel) -> tuple[Tensor, ...]:
        """Map [B, T, C, N] to [B, T, C', N].

        Returns:
            The attended signal, the outputs of both convolutions, and of the norm.
        """
        weights = self.steps(columns).transpose(1, 2)
        attended = (weights @ columns.flatten(2)).view(columns.shape)
        spatial = self.spatial(columns, self.sensors(attended), graph_kernel)
        temporal = self.temporal(spatial, columns)
        return attended, spatial, temporal, self.norm(temporal)


class ASTGCN(nn.Module):
    """One or more attention blocks and a map to all steps ahead (``core.families``)."""

    graph_kernel: Tensor

    def __init__(self, config: ASTGCNConfig, graph_kernel: GraphKernel) -> None:
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
        layers = config.layers
        pairs = [layers[at : at + 2] for at in range(0, len(layers), 2)]
        self.blocks = nn.ModuleList(AttentionBlock(config, pair) for pair in pairs)
        H, M = config.horizon_steps, config.history_steps
        self.head = nn.Parameter(torch.empty(H, M, len(layers[-1].outgoing)))
        self.head_bias = nn.Parameter(torch.zeros(H))
        self._initialise()

    def signal(
        self, readings: Float[Tensor, "B T N"], missing: Shaped[Tensor, "B T N"] | None = None
    ) -> Signal:
        """Return what the network reads (``signal_of``)."""
        return signal_of(readings, missing, masked=self.config.missing_mask)

    def forward(self, history: Signal) -> tuple[Float[Tensor, "B T2 H N"], Features]:
        """Predict what comes after every window of ``history_steps`` columns, each by itself.

        Args:
            history: scaled readings [B, 1, T, N], T >= history_steps; with a mask as ``signal``
                makes them.

        Returns:
            prediction: [B, T - history_steps + 1, H, N].
            features: hidden layers of every window [B (T - history_steps + 1), C, M, N].
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
    ) -> tuple[Float[Tensor, "B T2 H N"], Features, list[Tensor]]:
        """Go on in time: like ``forward`` on the last rows before and the new ones.

        Args:
            columns: new scaled readings [B, 1, T, N], see ``forward``.
            tails: the last history_steps - 1 rows before them, as ``last_tails`` cuts them; None
                at the start.

        Returns:
            Predictions after each column that completes a window, the features of these windows,
            and all rows that were read [B, T, C, N], tail included.
        """
        rows = columns.transpose(1, 2)
        if tails is not None and tails[0] is not None:
            rows = torch.cat([tails[0], rows], dim=1)
        windows = self._windows(rows)
        signal, temporal, spatial = windows, [], []
        for block in self.blocks:
            attended, mixed, last, signal = block(signal, self.graph_kernel)
            temporal += [attended.transpose(1, 2), last.transpose(1, 2)]
            spatial.append(mixed.transpose(1, 2))
        ahead = self.head.flatten(1) @ signal.flatten(1, 2) + self.head_bias[:, None]
        if self.config.skip:
            ahead = ahead + windows[:, -1, :1]
        return ahead.view(rows.shape[0], -1, *ahead.shape[1:]), Features(temporal, spatial), [rows]

    def _windows(self, rows: Columns) -> Float[Tensor, "BW M C N"]:
        """Cut [B, T, C, N] into its windows [B (T - M + 1), M, C, N]."""
        M = self.config.history_steps
        if rows.shape[1] == M:
            return rows
        return rows.unfold(1, M, 1).permute(0, 1, 4, 2, 3).flatten(0, 1)

    @property
    def temporal_kernel_sizes(self) -> list[int]:
        """Of what looks back: the network as a whole, at one window."""
        return [size for _, size, _ in self.config.look_back]

    def last_tails(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Cut from the rows that ``stream`` returned what its next call needs."""
        (rows,) = inputs
        kept = self.config.history_steps - 1
        return [rows.narrow(1, rows.shape[1] - kept, kept)]

    def _initialise(self) -> None:
        """Glorot-uniform weights and zero biases; with a skip a small head, as STGCN has it."""
        for module in self.modules():
            if isinstance(module, TemporalAttention | SpatialAttention):
                for vector in (module.first, module.third):
                    glorot(vector, len(vector), 1)
                for matrix in (module.second, module.weight):
                    glorot(matrix, *matrix.shape)
            elif isinstance(module, AttendedGraphConvolution):
                out_channels, in_channels, order = module.weight.shape
                glorot(module.weight, order * in_channels, out_channels)
            elif isinstance(module, PaddedConvolution):
                out_channels, taps, in_channels = module.weight.shape
                glorot(module.weight, taps * in_channels, taps * out_channels)
                glorot(module.residual, module.residual.shape[1], out_channels)
        steps_ahead, steps, channels = self.head.shape
        glorot(self.head, steps * channels, steps_ahead)
        if self.config.skip:
            with torch.no_grad():
                self.head.mul_(SKIPPED_HEAD)


def _mixed(weight: Tensor, bias: Tensor, seen: Float[Tensor, "BT C N"]) -> Tensor:
    """Return weight @ seen + bias for weight [C', ...] over all that was seen, in one pass."""
    flat = weight.flatten(1).expand(seen.shape[0], -1, -1)
    return torch.baddbmm(bias[None, :, None], flat, seen)
