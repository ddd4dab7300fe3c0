"""Average several networks, so that they forecast, stream and teach as one.

The forecast is the mean of the members', or a weighted one; members that predict one step get the
mean fed back, as one network would. Their hidden layers are laid side by side, scaled so that a
mean over channels, and hence every distance that the correlation terms take, is the mean of the
members' own. Members of several families have no hidden layers in common. Fits no weights
(``core.training.ensembles`` does) and trains nothing.

Axes: B windows, C channels, T time steps, N sensors, H steps ahead, K members.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from core.errors import ConfigError
from core.families import NetworkConfig
from core.families.networks import SingleNetwork
from core.shapes import Signal
from core.stgcn import Features, Tails


class Ensemble(nn.Module):
    """Several networks of the same sensors, history and head that are used as one.

    It has those methods of ``STGCN`` that forecasting, evaluation and teacher targets call.
    """

    shares: Tensor

    def __init__(
        self, members: Sequence[SingleNetwork], shares: Float[Tensor, "K H"] | None = None
    ) -> None:
        """Join ``members``.

        Args:
            members: at least two.
            shares: weight of each member [K, H], per step that one pass predicts; [K, 1] where all
                steps are alike. They sum to one over members. None: all members count the same.

        Raises:
            ConfigError: the members do not fit together, or the shares do not fit them.
        """
        super().__init__()
        check_members([member.config for member in members])
        self.networks = nn.ModuleList(members)
        if shares is None:
            shares = torch.full((len(members), 1), 1.0 / len(members))
        _check_shares(shares, members)
        self.register_buffer("shares", shares)

    @property
    def members(self) -> list[SingleNetwork]:
        """The networks, in their order."""
        return cast("list[SingleNetwork]", list(self.networks))

    @cached_property
    def config(self) -> NetworkConfig:
        """The first member's shape: what all agree in is theirs, the widths are its own."""
        first = self.members[0].config
        return replace(first, missing_mask=any(one.config.missing_mask for one in self.members))

    @property
    def graph_kernel(self) -> Tensor:
        """The graph kernel [K, N, N], which all members share."""
        return self.members[0].graph_kernel

    @property
    def temporal_kernel_sizes(self) -> list[int]:
        """Of the temporal layers that look back, member after member."""
        return [size for member in self.members for size in member.temporal_kernel_sizes]

    def signal(
        self, readings: Float[Tensor, "B T N"], missing: Shaped[Tensor, "B T N"] | None = None
    ) -> Signal:
        """Return what the members read (``STGCN.signal``), with a mask if any of them reads one."""
        reader = next((one for one in self.members if one.config.missing_mask), self.members[0])
        return reader.signal(readings, missing)

    def forward(self, history: Signal) -> tuple[Float[Tensor, "B T2 *H N"], Features]:
        """Predict what comes after every window of ``history_steps`` columns (``STGCN``)."""
        prediction, features, _ = self.stream(history, None)
        return prediction, features

    def stream(
        self, columns: Signal, tails: Tails | None
    ) -> tuple[Float[Tensor, "B T2 *H N"], Features, list[Tensor]]:
        """Go on in time (``STGCN.stream``); tails and inputs are listed member after member."""
        rest = iter(tails) if tails is not None else None
        passes = []
        for member in self.members:
            own = None if rest is None else [next(rest) for _ in member.temporal_kernel_sizes]
            passes.append(member.stream(columns[:, : member.config.input_channels], own))
        prediction = self.combined([predicted for predicted, _, _ in passes])
        features = self._features([features for _, features, _ in passes])
        return prediction, features, [one for _, _, inputs in passes for one in inputs]

    def last_tails(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Cut from the inputs that ``stream`` returned what its next call needs."""
        rest = iter(inputs)
        tails = []
        for member in self.members:
            tails += member.last_tails([next(rest) for _ in member.temporal_kernel_sizes])
        return tails

    def _features(self, features: Sequence[Features]) -> Features:
        """Join hidden layers; those of one time step and those of a window are not comparable."""
        if len({member.config.equivariant for member in self.members}) > 1:
            return Features([], [])
        return side_by_side(features)

    def combined(
        self, predictions: Sequence[Float[Tensor, "B T *H N"]]
    ) -> Float[Tensor, "B T *H N"]:
        """Return the weighted mean of the members' predictions."""
        stacked = torch.stack(list(predictions))  # [K, B, T, H, N], or [K, B, T, N]
        shares = self.shares[:, None, None, :, None]
        if stacked.ndim == 4:
            shares = shares[..., 0]
        return (stacked * shares).sum(dim=0)


Network = SingleNetwork | Ensemble
"""What forecasts."""


def side_by_side(features: Sequence[Features]) -> Features:
    """Join the hidden layers of several networks channel by channel.

    With C channels in all, those of a network that has c of them are scaled by C / (K c): a mean
    over all channels is the mean of the K networks' own. Blocks that not all of them have are left
    out, since a layer is joined to those that have seen as much of the history.
    """
    return Features(
        [_joined(layers) for layers in zip(*(one.temporal for one in features), strict=False)],
        [_joined(layers) for layers in zip(*(one.spatial for one in features), strict=False)],
        features[0].windows_per_segment,
    )


def _joined(layers: Sequence[Tensor]) -> Tensor:
    channels = sum(layer.shape[1] for layer in layers)
    scaled = [layer * (channels / (len(layers) * layer.shape[1])) for layer in layers]
    # In the memory order of the network, step after step.
    return torch.cat([layer.transpose(1, 2) for layer in scaled], dim=2).transpose(1, 2)


def check_members(configs: Sequence[NetworkConfig]) -> None:
    """Raise ``ConfigError`` unless networks of these shapes can be an ensemble."""
    if len(configs) < 2:
        raise ConfigError(f"an ensemble needs at least 2 networks, got {len(configs)}; name more")
    said = {
        "sensors": [one.num_sensors for one in configs],
        "history steps": [one.history_steps for one in configs],
        "steps predicted in one pass": [one.steps_per_pass for one in configs],
        "temporal kernel": [one.temporal_kernel_size for one in configs],
    }
    for what, values in said.items():
        if len(set(values)) > 1:
            raise ConfigError(
                f"the networks of an ensemble must agree in their {what}, got "
                f"{', '.join(map(str, values))}; name networks of one form and dataset"
            )


def _check_shares(shares: Tensor, members: Sequence[SingleNetwork]) -> None:
    steps = members[0].config.steps_per_pass
    if shares.shape not in {(len(members), 1), (len(members), steps)}:
        raise ConfigError(
            f"shares must be [{len(members)}, {steps}], a weight per network and step, got "
            f"{list(shares.shape)}"
        )
    if (shares < 0).any() or not torch.allclose(shares.sum(dim=0), torch.ones(())):
        raise ConfigError("shares must not be negative and sum to one over the networks")
