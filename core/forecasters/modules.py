"""A student and its scaler in, forecasters of whole horizons in the readings' own unit out.

A forecast is one step that sees readings, of a window or a new row of a live stream, and steps that
each see the prediction before. All are modules that compute only the newest column of every layer;
what a step leaves for the next are the tails of the temporal layers (``core.stgcn``). Converts
nothing: that is for ``core.forecasters.onnx_export`` and ``core.forecasters.torch_program``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.preprocessing.scaling import Scaler
from core.stgcn import STGCN

NextTails = list[Float[Tensor, "_ _ _ _"]]
"""Of the layers that look back, in order: [B, kernel_size - 1, C, N] each."""


class FirstStep(nn.Module):
    """A window of readings in, the scaled prediction of the step after it out."""

    def __init__(self, model: STGCN, scaler: Scaler) -> None:
        """Share the weights of ``model``."""
        super().__init__()
        self.model, self.scaler = model, scaler

    def forward(self, readings: Float[Tensor, "B M N"]) -> tuple[Tensor, NextTails]:
        """Map [B, history_steps, N] to a scaled prediction [B, 1, N] and tails."""
        newest, _, inputs = self.model.stream(self.scaler.scale(readings)[:, None], None)
        return newest, looking_back(self.model, self.model.last_tails(inputs))


class NextStep(nn.Module):
    """A prediction in, that of the step after it out; all scaled."""

    def __init__(self, model: STGCN) -> None:
        """Share the weights of ``model``."""
        super().__init__()
        self.model = model

    def forward(self, newest: Float[Tensor, "B 1 N"], tails: NextTails) -> tuple[Tensor, NextTails]:
        """Map a prediction [B, 1, N] and the tails before it to the next of both."""
        given = iter(tails)
        sizes = self.model.temporal_kernel_sizes
        before = [next(given) if size > 1 else None for size in sizes]
        following, _, inputs = self.model.stream(newest[:, None], before)
        return following, looking_back(self.model, self.model.last_tails(inputs))


class Forecaster(nn.Module):
    """Windows of readings in, whole forecasts out, both in the readings' own unit."""

    def __init__(self, model: STGCN, scaler: Scaler, horizon_steps: int) -> None:
        """Copy ``model`` to the CPU."""
        super().__init__()
        own = copy.deepcopy(model).cpu()
        self.first, self.following = FirstStep(own, scaler), NextStep(own)
        self.scaler, self.horizon_steps = scaler, horizon_steps

    def forward(self, readings: Float[Tensor, "B M N"]) -> Float[Tensor, "B H N"]:
        """Map [B, history_steps, N] to [B, horizon_steps, N]."""
        newest, tails = self.first(readings)
        return self.scaler.unscale(go_on(self.following, newest, tails, self.horizon_steps))


@dataclass(frozen=True)
class StateRows:
    """Which rows of a live state belong to one layer."""

    layer: str
    """As its weights are called, ``blocks.0.first``."""
    first: int
    steps: int
    """Of its input, the oldest first."""
    channels: int


class LiveStep(nn.Module):
    """A new row of readings and a state in, the scaled prediction after it and a new state out.

    The state [S, N] holds, from its first row on, the tails of the layers that look back (their
    steps, and of each step its channels) and in its last row how many readings have been seen, at
    most history_steps. It starts as zeros. What the zeros stand for has left every layer once
    history_steps rows have come, as no layer looks back further.
    """

    def __init__(self, model: STGCN, scaler: Scaler) -> None:
        """Share the weights of ``model``."""
        super().__init__()
        self.following, self.scaler = NextStep(model), scaler
        self.rows = state_rows(model)
        self.history_steps = model.config.history_steps

    def forward(
        self, reading: Float[Tensor, " N"], state: Float[Tensor, "S N"]
    ) -> tuple[Tensor, NextTails, Tensor, Tensor]:
        """Go on by one row.

        Args:
            reading: in its own unit, without gaps [N].
            state: [S, N].

        Returns:
            The scaled prediction [1, 1, N], the tails after it, the new state [S, N], and what to
            add to a forecast [1, 1, N]: zero, or NaN until enough readings have been seen.
        """
        before = [self._cut(state, rows) for rows in self.rows]
        newest, tails = self.following(self.scaler.scale(reading)[None, None], before)
        seen = (state[-1:] + 1).clamp(max=self.history_steps)
        packed = torch.cat([*(tail.flatten(0, 2) for tail in tails), seen])
        ready = seen[None] >= self.history_steps
        return newest, tails, packed, torch.where(ready, 0.0, torch.nan)

    @staticmethod
    def _cut(state: Tensor, rows: StateRows) -> Tensor:
        cut = state[rows.first : rows.first + rows.steps * rows.channels]
        return cut.view(1, rows.steps, rows.channels, state.shape[1])


def state_rows(model: STGCN) -> list[StateRows]:
    """Return what the rows of a live state hold, but for the last row."""
    found, first = [], 0
    for shape in (one for one in model.config.layers if one.kind in {"glu", "relu"}):
        steps, channels = shape.kernel_size - 1, len(shape.incoming)
        if steps:
            found.append(StateRows(shape.name, first, steps, channels))
            first += steps * channels
    return found


def new_state(model: STGCN) -> Float[Tensor, "S N"]:
    """Return the state of a live stream that has seen nothing."""
    rows = sum(layer.steps * layer.channels for layer in state_rows(model))
    return torch.zeros(rows + 1, model.config.num_sensors)


def go_on(
    following: NextStep, newest: Tensor, tails: NextTails, steps: int
) -> Float[Tensor, "B H N"]:
    """Return ``steps`` scaled predictions, of which ``newest`` [B, 1, N] is the first."""
    forecasts = [newest]
    for _ in range(steps - 1):
        newest, tails = following(newest, tails)
        forecasts.append(newest)
    return torch.cat(forecasts, dim=1)


def looking_back(model: STGCN, tails: Sequence[Tensor]) -> NextTails:
    """Leave out the empty tails of layers that look at one step only."""
    pairs = zip(tails, model.temporal_kernel_sizes, strict=True)
    return [tail for tail, size in pairs if size > 1]
