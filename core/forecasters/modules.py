"""Build torch modules that forecast a whole horizon from readings in their own unit.

A forecast is one step on readings, of a window or a new row of a live stream, and further steps
that each read the prediction before; with a horizon head the first step is all. All modules compute
only the newest column of every layer; the state between steps is the tails of the temporal layers
(``core.stgcn``). Does not convert to other formats: ``core.forecasters.onnx_export`` and
``core.forecasters.torch_program`` do.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.evaluation.forecasting import first_steps
from core.preprocessing.scaling import Scaler
from core.stgcn import STGCN

NextTails = list[Float[Tensor, "_ _ _ _"]]
"""Tails of the layers with a kernel of more than one step, in order: [B, kernel_size - 1, C, N]."""


class FirstStep(nn.Module):
    """Predicts the step after a window of readings, scaled."""

    def __init__(self, model: STGCN, scaler: Scaler) -> None:
        """Share the weights of ``model``."""
        super().__init__()
        self.model, self.scaler = model, scaler

    def forward(self, readings: Float[Tensor, "B M N"]) -> tuple[Tensor, NextTails]:
        """Map [B, history_steps, N] to a scaled prediction [B, 1, N] and tails.

        The prediction of a horizon head is [B, H, N].
        """
        newest, _, inputs = self.model.stream(self.scaler.scale(readings)[:, None], None)
        return of_one_window(newest), nonempty_tails(self.model, self.model.last_tails(inputs))


class NextStep(nn.Module):
    """Predicts the step after a prediction; both scaled."""

    def __init__(self, model: STGCN) -> None:
        """Share the weights of ``model``."""
        super().__init__()
        self.model = model

    def forward(self, newest: Float[Tensor, "B 1 N"], tails: NextTails) -> tuple[Tensor, NextTails]:
        """Map a scaled row [B, 1, N] and the tails before it to the prediction and tails after it.

        The prediction of a horizon head is [B, H, N].
        """
        given = iter(tails)
        sizes = self.model.temporal_kernel_sizes
        before = [next(given) if size > 1 else None for size in sizes]
        following, _, inputs = self.model.stream(newest[:, None], before)
        return of_one_window(following), nonempty_tails(self.model, self.model.last_tails(inputs))


class Forecaster(nn.Module):
    """Forecasts a whole horizon after windows of readings, in the readings' own unit."""

    def __init__(self, model: STGCN, scaler: Scaler, horizon_steps: int) -> None:
        """Copy ``model`` to the CPU."""
        super().__init__()
        own = copy.deepcopy(model).cpu()
        self.first, self.following = FirstStep(own, scaler), NextStep(own)
        self.scaler, self.horizon_steps = scaler, horizon_steps

    def forward(self, readings: Float[Tensor, "B M N"]) -> Float[Tensor, "B H N"]:
        """Map [B, history_steps, N] to [B, horizon_steps, N]."""
        newest, tails = self.first(readings)
        return self.scaler.unscale(
            continue_forecast(self.following, newest, tails, self.horizon_steps)
        )


@dataclass(frozen=True)
class StateRows:
    """The rows of a live state that belong to one layer."""

    layer: str
    """Name of its weights, such as ``blocks.0.first``."""
    first: int
    steps: int
    """Time steps of its input, the oldest first."""
    channels: int


class LiveStep(nn.Module):
    """Predicts the step after a new row of readings, scaled, and updates the state of the stream.

    The state [S, N] consists of the tails of the layers with a kernel of more than one step (their
    steps, and of each step its channels), and its last row counts the readings received, at most
    history_steps. It starts as zeros. After history_steps rows no layer depends on these zeros any
    more, since no layer looks further back.
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
        """Process one row.

        Args:
            reading: in its own unit, without gaps [N].
            state: [S, N].

        Returns:
            The scaled prediction [1, 1 or H, N], the tails after it, the new state [S, N], and what
            to add to a forecast [1, 1, N]: zero, or NaN until enough readings have been seen.
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
    """Return which rows of a live state belong to which layer, without the last row, a count."""
    found, first = [], 0
    for shape in (one for one in model.config.layers if one.kind in {"glu", "relu"}):
        steps, channels = shape.kernel_size - 1, len(shape.incoming)
        if steps:
            found.append(StateRows(shape.name, first, steps, channels))
            first += steps * channels
    return found


def new_state(model: STGCN) -> Float[Tensor, "S N"]:
    """Return the state of a live stream before its first row."""
    rows = sum(layer.steps * layer.channels for layer in state_rows(model))
    return torch.zeros(rows + 1, model.config.num_sensors)


def continue_forecast(
    following: NextStep, newest: Tensor, tails: NextTails, steps: int
) -> Float[Tensor, "B H N"]:
    """Return ``steps`` scaled predictions, of which ``newest`` [B, 1 or H, N] are the first.

    Raises:
        ConfigError: a horizon head predicts fewer.
    """
    if following.model.config.steps_ahead is not None:
        return first_steps(following.model, newest, steps)
    forecasts = [newest]
    for _ in range(steps - 1):
        newest, tails = following(newest, tails)
        forecasts.append(newest)
    return torch.cat(forecasts, dim=1)


def of_one_window(prediction: Float[Tensor, "B 1 *H N"]) -> Float[Tensor, "B _ N"]:
    """Return what is predicted after one window, step by step: one of them, or H."""
    return prediction if prediction.ndim == 3 else prediction[:, 0]


def nonempty_tails(model: STGCN, tails: Sequence[Tensor]) -> NextTails:
    """Return ``tails`` without the empty ones of layers with a kernel of one step."""
    pairs = zip(tails, model.temporal_kernel_sizes, strict=True)
    return [tail for tail, size in pairs if size > 1]
