"""Prepare a dataset for training and evaluation: fill gaps, scale, build the graph kernel.

The scaler is fitted on the training days alone. Does not cut batches (``batching`` does, for the
training loop) and does not shuffle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from core.datasets.dataset import Dataset, DatasetCard
from core.errors import DatasetError
from core.graph import chebyshev_stack
from core.preprocessing.gaps import interpolate_gaps
from core.preprocessing.scaling import Scaler
from core.preprocessing.windows import Part, Stretch, stretches
from core.shapes import GraphKernel

HORIZON_MINUTES = (15, 30, 45)
"""Horizons at which errors are reported (Tables 2, 4, 5, 7 and 8); forecasts end at the last."""


@dataclass(frozen=True)
class PreparedData:
    """A dataset prepared for networks that read ``history_steps`` rows."""

    card: DatasetCard
    fingerprint: str
    """Fingerprint of the dataset; teachers and records refer to it."""
    readings: Float[Tensor, "T N"]
    """Scaled readings without gaps: inputs and training targets of networks."""
    truth: Float[Tensor, "T N"]
    """Readings in their own unit, NaN where nothing was measured; errors are measured on these."""
    scaler: Scaler
    graph_kernel: GraphKernel
    history_steps: int

    @property
    def horizon_steps(self) -> int:
        """Time steps of a whole forecast."""
        return steps_of(HORIZON_MINUTES[-1], self.card.interval_minutes)

    @property
    def window_steps(self) -> int:
        """Rows of a window: history and horizon."""
        return self.history_steps + self.horizon_steps

    def stretches(self, part: Part) -> tuple[Stretch, ...]:
        """Return the uninterrupted stretches of ``part``."""
        return stretches(self.card, part)

    def to(self, device: torch.device) -> PreparedData:
        """Return the same data with its tensors on ``device``."""
        return replace(
            self,
            readings=self.readings.to(device),
            truth=self.truth.to(device),
            graph_kernel=self.graph_kernel.to(device),
        )


def steps_of(minutes: int, interval_minutes: int) -> int:
    """Return how many time steps ``minutes`` are; the only conversion of minutes to steps."""
    if minutes % interval_minutes:
        raise DatasetError(
            f"horizons of {', '.join(map(str, HORIZON_MINUTES))} minutes need an interval that "
            f"divides them, got {interval_minutes} minutes"
        )
    return minutes // interval_minutes


def prepare(dataset: Dataset, history_steps: int = 12, chebyshev_order: int = 3) -> PreparedData:
    """Fill gaps, scale with the training days and build the graph kernel.

    Raises:
        DatasetError: a sensor without readings, constant readings, or a horizon that the interval
            does not divide.
    """
    filled = interpolate_gaps(dataset.readings)
    scaler = Scaler.fit(filled[: dataset.card.split[0] * dataset.card.steps_per_day])
    data = PreparedData(
        card=dataset.card,
        fingerprint=dataset.fingerprint,
        readings=torch.from_numpy(scaler.scale(filled)),
        # A copy, because torch warns of tensors on read-only memory.
        truth=torch.from_numpy(dataset.readings.copy()),
        scaler=scaler,
        graph_kernel=chebyshev_stack(dataset.adjacency, chebyshev_order),
        history_steps=history_steps,
    )
    if data.window_steps > dataset.card.steps_per_day:
        raise DatasetError(
            f"a window of {data.window_steps} rows must fit into a day of "
            f"{dataset.card.steps_per_day} rows; use a shorter interval"
        )
    return data
