"""Re-export ``LiveForecaster``, so that users import it as ``core.live_forecaster``.

The class itself is in ``core.export.live_forecaster``.
"""

from __future__ import annotations

from core.export.live_forecaster import LiveForecaster

__all__ = ["LiveForecaster"]
