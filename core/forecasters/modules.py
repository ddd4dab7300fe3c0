"""Build torch modules that forecast a whole horizon from readings in their own unit.

A forecast is one step on readings, of a window or a new row of a live stream, and further steps
that each read the prediction before; with a horizon head the first step is all. Gaps are filled
inside (``core.forecasters.gap_filling``); where one is longer than a limit, that sensor's forecast
is NaN. All modules compute only the newest column of every layer; the state between steps is the
tails of the temporal layers (``core.stgcn``). Does not convert to other formats:
``core.forecasters.onnx_export`` and ``core.forecasters.torch_program`` do.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.evaluation.forecasting import first_steps
from core.families.networks import SingleNetwork
from core.forecasters.gap_filling import GapFilling, fill_windows, filled_in_a_row, next_age
from core.preprocessing.scaling import Scaler

NextTails = list[Float[Tensor, "_ _ _ _"]]
"""Tails of the layers with a kernel of more than one step, in order: [B, kernel_size - 1, C, N]."""


class FirstStep(nn.Module):
    """Predicts the step after a window of readings, scaled."""

    def __init__(self, model: SingleNetwork, scaler: Scaler, filling: GapFilling) -> None:
        """Share the weights of ``model``."""
        super().__init__()
        self.model, self.scaler, self.limit_steps = model, scaler, filling.limit_steps
        self.filling = filling

    def forward(
        self, readings: Float[Tensor, "B M N"]
    ) -> tuple[Tensor, NextTails, Tensor, Float[Tensor, "B N"]]:
        """Process windows [B, history_steps, N], NaN where nothing was measured.

        Returns:
            The scaled prediction [B, 1, N], of a horizon head [B, H, N]; the tails after it; what
            to add to a forecast [B, 1, N]: zero, or NaN where a gap is too long; and how many
            readings in a row, up to the newest, were filled [B, N].
        """
        filled, missing, in_a_row = fill_windows(readings, self.filling)
        newest, tails = first_step(self.model, self.scaler.scale(filled), missing)
        longest = in_a_row.amax(dim=1, keepdim=True)
        return newest, tails, _nan_unless(longest <= self.limit_steps), in_a_row[:, -1]


class NextStep(nn.Module):
    """Predicts the step after a prediction; both scaled."""

    def __init__(self, model: SingleNetwork) -> None:
        """Share the weights of ``model``."""
        super().__init__()
        self.model = model

    def forward(self, newest: Float[Tensor, "B 1 N"], tails: NextTails) -> tuple[Tensor, NextTails]:
        """Map a scaled row [B, 1, N] and the tails before it to the prediction and tails after it.

        The prediction of a horizon head is [B, H, N].
        """
        return next_step(self.model, newest, None, tails)


class Forecaster(nn.Module):
    """Forecasts a whole horizon after windows of readings, in the readings' own unit."""

    def __init__(
        self, model: SingleNetwork, scaler: Scaler, horizon_steps: int, filling: GapFilling
    ) -> None:
        """Copy ``model`` to the CPU."""
        super().__init__()
        own = copy.deepcopy(model).cpu()
        self.first, self.following = FirstStep(own, scaler, filling), NextStep(own)
        self.scaler, self.horizon_steps = scaler, horizon_steps

    def forward(self, readings: Float[Tensor, "B M N"]) -> Float[Tensor, "B H N"]:
        """Map [B, history_steps, N], NaN where nothing was measured, to [B, horizon_steps, N].

        Sensors with a gap that is too long have NaN.
        """
        newest, tails, unless_too_long, _ = self.first(readings)
        scaled = continue_forecast(self.following, newest, tails, self.horizon_steps)
        forecast: Tensor = self.scaler.unscale(scaled) + unless_too_long
        return forecast


@dataclass(frozen=True)
class StateRows:
    """The rows of a live state that belong to one layer."""

    layer: str
    """Name of its weights, such as ``blocks.0.first``; ``input`` of a network that keeps rows."""
    first: int
    steps: int
    """Time steps of its input, the oldest first."""
    channels: int


class LiveStep(nn.Module):
    """Predicts the step after a new row of readings, scaled, and updates the state of the stream.

    The state [S, N] consists of the tails of the layers with a kernel of more than one step (their
    steps, and of each step its channels) and three rows: each sensor's last reading, the age of it
    (``core.forecasters.gap_filling.next_age``), and how many rows in a row can be used, at most
    history_steps: read, or filled within the limit. It starts as zeros. After history_steps rows no
    layer depends on these zeros any more, since no layer looks further back.
    """

    def __init__(self, model: SingleNetwork, scaler: Scaler, filling: GapFilling) -> None:
        """Share the weights of ``model``."""
        super().__init__()
        self.model, self.scaler, self.filling = model, scaler, filling
        self.rows = state_rows(model)
        self.history_steps = model.config.history_steps

    def forward(
        self, reading: Float[Tensor, " N"], state: Float[Tensor, "S N"]
    ) -> tuple[Tensor, NextTails, Tensor, Tensor, Float[Tensor, " N"]]:
        """Process one row.

        Args:
            reading: in its own unit [N], NaN where nothing was measured.
            state: [S, N].

        Returns:
            The scaled prediction [1, 1 or H, N], the tails after it, the new state [S, N], what to
            add to a forecast [1, 1, N]: zero, or NaN until enough readings could be used; and how
            many readings in a row were filled [N].
        """
        last, age, usable = state[-3], state[-2], state[-1]
        age = next_age(reading, age)
        known = torch.where(reading.isnan(), last, reading)
        in_a_row = filled_in_a_row(age)
        usable = torch.where(in_a_row > self.filling.limit_steps, 0.0, usable + 1)
        usable = usable.clamp(max=self.history_steps)
        newest, tails = next_step(
            self.model,
            self.scaler.scale(torch.where(age > 0, known, self.filling.usual))[None, None],
            reading.isnan()[None, None],
            [self._cut(state, rows) for rows in self.rows],
        )
        counts = torch.stack([known, age, usable])
        packed = torch.cat([*(tail.flatten(0, 2) for tail in tails), counts])
        ready = _nan_unless(usable[None, None] >= self.history_steps)
        return newest, tails, packed, ready, in_a_row

    @staticmethod
    def _cut(state: Tensor, rows: StateRows) -> Tensor:
        cut = state[rows.first : rows.first + rows.steps * rows.channels]
        return cut.view(1, rows.steps, rows.channels, state.shape[1])


def state_rows(model: SingleNetwork) -> list[StateRows]:
    """Return which rows of a live state belong to which layer; the last three belong to none."""
    found, first = [], 0
    for name, size, channels in model.config.look_back:
        if size > 1:
            found.append(StateRows(name, first, size - 1, channels))
            first += (size - 1) * channels
    return found


def new_state(model: SingleNetwork) -> Float[Tensor, "S N"]:
    """Return the state of a live stream before its first row."""
    rows = sum(layer.steps * layer.channels for layer in state_rows(model))
    return torch.zeros(rows + 3, model.config.num_sensors)


def new_tails(model: SingleNetwork, windows: int = 1) -> NextTails:
    """Return the tails of ``windows`` streams before their first row."""
    N = model.config.num_sensors
    return [torch.zeros(windows, rows.steps, rows.channels, N) for rows in state_rows(model)]


def first_step(
    model: SingleNetwork, readings: Float[Tensor, "B M N"], missing: Float[Tensor, "B M N"]
) -> tuple[Tensor, NextTails]:
    """Predict after scaled windows; see ``FirstStep``, and ``STGCN.signal`` for ``missing``."""
    newest, _, inputs = model.stream(model.signal(readings, missing), None)
    return of_one_window(newest), nonempty_tails(model, model.last_tails(inputs))


def next_step(
    model: SingleNetwork, newest: Float[Tensor, "B 1 N"], missing: Tensor | None, tails: NextTails
) -> tuple[Tensor, NextTails]:
    """Predict after one more scaled row; see ``NextStep``, and ``STGCN.signal`` for ``missing``."""
    given = iter(tails)
    before = [next(given) if size > 1 else None for size in model.temporal_kernel_sizes]
    following, _, inputs = model.stream(model.signal(newest, missing), before)
    return of_one_window(following), nonempty_tails(model, model.last_tails(inputs))


def _nan_unless(condition: Tensor) -> Tensor:
    return torch.where(condition, 0.0, torch.nan)


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


def nonempty_tails(model: SingleNetwork, tails: Sequence[Tensor]) -> NextTails:
    """Return ``tails`` without the empty ones of layers with a kernel of one step."""
    pairs = zip(tails, model.temporal_kernel_sizes, strict=True)
    return [tail for tail, size in pairs if size > 1]
