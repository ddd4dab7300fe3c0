"""Compute MAE, MAPE and RMSE of forecasts by horizon.

Sums are kept in float64, so the result does not depend on how windows are batched. Entries where
nothing was measured (NaN truth) are skipped, and MAPE also skips a truth of zero, where it is
undefined. Does not run networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


class ForecastErrors:
    """Accumulates errors of forecasts in original units."""

    def __init__(self, horizon_minutes: Sequence[int], horizon_steps: Sequence[int]) -> None:
        """Measure at ``horizon_steps`` (1 = the next reading), reported as ``horizon_minutes``."""
        self.minutes = tuple(horizon_minutes)
        self._columns = [step - 1 for step in horizon_steps]
        # Rows: absolute error, squared error, their entries, relative error, its entries. Sums of
        # several parts may be added, which means may not.
        self.sums: Float[Tensor, "5 K"] = torch.zeros(5, len(self.minutes), dtype=torch.float64)
        self.windows = 0

    def add(self, forecast: Float[Tensor, "W H N"], truth: Float[Tensor, "W H N"]) -> None:
        """Add forecasts of W windows, H steps and N sensors."""
        actual = truth[:, self._columns].double()
        error = (forecast[:, self._columns].double() - actual).abs()
        known = ~actual.isnan()
        relative = known & (actual != 0)
        terms = [
            error.where(known, 0.0),
            error.square().where(known, 0.0),
            known.double(),
            (error / actual.abs()).where(relative, 0.0),
            relative.double(),
        ]
        self.sums += torch.stack([term.sum(dim=(0, 2)) for term in terms]).cpu()
        self.windows += len(forecast)

    def summary(self) -> dict[str, float]:
        """Return ``mae_15`` … ``rmse_45`` and their means over horizons ``mae mape rmse``.

        MAPE is in percent, the others in the readings' unit; NaN where no reading was measured.
        """
        absolute, squared, entries, relative, relative_entries = self.sums
        values = {
            "mae": absolute / entries,
            "mape": 100.0 * relative / relative_entries,
            "rmse": (squared / entries).sqrt(),
        }
        by_horizon = {
            f"{name}_{minutes}": float(value[column])
            for name, value in values.items()
            for column, minutes in enumerate(self.minutes)
        }
        return by_horizon | {name: float(value.mean()) for name, value in values.items()}
