"""Prepare a dataset for training and evaluation: fill gaps, scale, build the graph kernel.

The scaler is fitted on what was measured on the training days alone. Does not cut batches
(``batching`` does, for the training loop) and does not shuffle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from core.datasets.dataset import Dataset, DatasetCard
from core.errors import DatasetError
from core.files import fingerprint
from core.graph import chebyshev_stack
from core.preprocessing.gaps import (
    CAUSAL,
    GAP_RULES,
    causal_fill,
    check_every_sensor_reads,
    check_gap_rule,
    interpolate_gaps,
    usual_day,
)
from core.preprocessing.horizons import HORIZON_MINUTES
from core.preprocessing.scaling import Scaler
from core.preprocessing.windows import PARTS, Part, Stretch, stretches
from core.shapes import GraphKernel


@dataclass(frozen=True)
class PreparedData:
    """A dataset prepared for networks that read ``history_steps`` rows."""

    card: DatasetCard
    fingerprint: str
    """Of the dataset and of how its gaps were filled (``data_fingerprint``); teachers and records
    refer to it."""
    readings: Float[Tensor, "T N"]
    """Scaled readings without gaps: inputs of networks."""
    targets: Float[Tensor, "T N"]
    """What networks learn to forecast: scaled, NaN where no loss may look. The same tensor as
    ``readings`` where nothing is missing."""
    truth: Float[Tensor, "T N"]
    """Readings in their own unit, NaN where nothing was measured; errors are measured on these."""
    scaler: Scaler
    graph_kernel: GraphKernel
    history_steps: int
    gaps: str
    """How they were filled, one of ``GAP_RULES``."""
    usual: Float[np.ndarray, "D N"]
    """What each sensor usually reads at each time step of a day (``usual_day``)."""

    @property
    def looks_ahead(self) -> bool:
        """Whether some input was made from later readings, so that all errors are too good."""
        return self.gaps != CAUSAL and bool(self.truth.isnan().any())

    @property
    def horizon_steps(self) -> int:
        """Time steps of a whole forecast."""
        return steps_of(HORIZON_MINUTES[-1], self.card.interval_minutes)

    @property
    def window_steps(self) -> int:
        """Rows of a window: history and horizon."""
        return self.history_steps + self.horizon_steps

    def missing(self, rows: slice) -> Float[Tensor, "T N"]:
        """Return one where a reading of ``rows`` was not measured and zero elsewhere."""
        return self.truth[rows].isnan().to(self.readings.dtype)

    def stretches(self, part: Part) -> tuple[Stretch, ...]:
        """Return the uninterrupted stretches of ``part``."""
        return stretches(self.card, part)

    def to(self, device: torch.device) -> PreparedData:
        """Return the same data with its tensors on ``device``."""
        readings = self.readings.to(device)
        return replace(
            self,
            readings=readings,
            targets=readings if self.targets is self.readings else self.targets.to(device),
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


def prepare(
    dataset: Dataset, history_steps: int = 12, chebyshev_order: int = 3, gaps: str = CAUSAL
) -> PreparedData:
    """Fill gaps, scale with the training days and build the graph kernel.

    Args:
        dataset: as it was imported.
        history_steps: M, rows that a network reads.
        chebyshev_order: terms of the graph kernel.
        gaps: how they are filled, one of ``GAP_RULES``. Interpolated values are also targets, as in
            the paper; under the causal rule nothing that was not measured is.

    Raises:
        DatasetError: a sensor without readings, constant readings, or a horizon that the interval
            does not divide.
        UnknownNameError: no such rule.
    """
    check_gap_rule(gaps)
    card, measured = dataset.card, dataset.readings
    check_every_sensor_reads(measured)
    training = slice(card.split[0] * card.steps_per_day)
    usual = usual_day(measured[training], card.steps_per_day)
    if gaps == CAUSAL:
        filled, wanted = _causally_filled(card, measured, usual), measured
    else:
        filled = wanted = interpolate_gaps(measured)
    scaler = Scaler.fit(wanted[training])
    readings = torch.from_numpy(scaler.scale(filled))
    data = PreparedData(
        card=card,
        fingerprint=data_fingerprint(dataset, gaps),
        readings=readings,
        targets=readings if wanted is filled else torch.from_numpy(scaler.scale(wanted)),
        # A copy, because torch warns of tensors on read-only memory.
        truth=torch.from_numpy(measured.copy()),
        scaler=scaler,
        graph_kernel=chebyshev_stack(dataset.adjacency, chebyshev_order),
        history_steps=history_steps,
        gaps=gaps,
        usual=usual,
    )
    if data.window_steps > dataset.card.steps_per_day:
        raise DatasetError(
            f"a window of {data.window_steps} rows must fit into a day of "
            f"{dataset.card.steps_per_day} rows; use a shorter interval"
        )
    return data


def data_fingerprint(dataset: Dataset, gaps: str) -> str:
    """Identify a dataset and how its gaps are filled.

    Without gaps, or interpolated, it is the dataset's own, as of all that was trained before there
    were two rules: networks and errors of different rules are never mixed.
    """
    if gaps != CAUSAL or not dataset.card.missing_share:
        return dataset.fingerprint
    return fingerprint([dataset.fingerprint, gaps])


def gap_rule_of(dataset: Dataset, wanted: str) -> str | None:
    """Return the rule under which this data has the fingerprint ``wanted``, or None."""
    fitting = [rule for rule in GAP_RULES if data_fingerprint(dataset, rule) == wanted]
    return fitting[0] if fitting else None


def _causally_filled(
    card: DatasetCard, readings: NDArray[np.float32], usual: NDArray[np.float32]
) -> NDArray[np.float32]:
    if not np.isnan(readings).any():
        return readings
    fill = causal_fill(card.day_kind, usual)
    pieces = [
        fill(readings[stretch.start : stretch.stop], stretch.start % card.steps_per_day)
        for part in PARTS
        for stretch in stretches(card, part)
    ]
    return np.concatenate(pieces)
