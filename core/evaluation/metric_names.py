"""Name the errors that are reported. Measures nothing, and needs no torch."""

from __future__ import annotations

METRICS = ("mae", "mape", "rmse")
