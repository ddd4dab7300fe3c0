"""A dataset in, everything a network trains and is judged on out.

Gaps are filled, readings scaled with training days only, the graph turned into its Chebyshev
kernel. Batches are cut by ``core.training.trainer``; nothing here shuffles.
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
"""Where errors are reported (Tables 2, 4, 5, 7 and 8); the last is how far forecasts go."""


@dataclass(frozen=True)
class PreparedData:
    """One dataset, ready for networks with ``history_steps`` of history."""

    card: DatasetCard
    fingerprint: str
    """Of the dataset; teachers and records refer to it."""
    readings: Float[Tensor, "T N"]
    """Scaled, without gaps; what networks see and learn."""
    truth: Float[Tensor, "T N"]
    """In the original unit, NaN where nothing was measured; what forecasts are judged by."""
    scaler: Scaler
    graph_kernel: GraphKernel
    history_steps: int

    @property
    def horizon_steps(self) -> int:
        """Steps of a whole forecast."""
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
    """Return how many time steps ``minutes`` are; the one place where minutes become steps."""
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
        # A copy: torch refuses to promise that it never writes to mapped, read-only pages.
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
