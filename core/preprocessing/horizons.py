"""Name the horizons of forecasts. Needs no torch."""

from __future__ import annotations

HORIZON_MINUTES = (15, 30, 45)
"""Horizons at which errors are reported (Tables 2, 4, 5, 7 and 8); forecasts end at the last."""
