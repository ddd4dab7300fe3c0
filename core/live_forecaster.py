"""Keep the import that users of a live forecaster have: it lives in ``core.export`` now."""

from __future__ import annotations

from core.export.live_forecaster import LiveForecaster

__all__ = ["LiveForecaster"]
