"""Naive restatements of forecasting and its errors: whole passes, one entry at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from core.stgcn import STGCN

Array = NDArray[np.float64]


def plain_roll_out(model: STGCN, windows: torch.Tensor, steps: int) -> torch.Tensor:
    """Forecast ``steps`` readings after each scaled window [W, M, N], always by whole passes.

    Or after [W, C, M, N]: readings and a mask, in which what was predicted was not missing.
    """
    windows = windows[:, None] if windows.ndim == 3 else windows
    if model.config.head == "horizon":
        with torch.no_grad():
            return torch.stack([model(window[None])[0][0, 0, :steps] for window in windows])
    seen, forecasts = windows, []
    for _ in range(steps):
        with torch.no_grad():
            newest = model(seen)[0]
        forecasts.append(newest[:, 0])
        column = torch.zeros_like(seen[:, :, :1])
        column[:, 0] = newest
        seen = torch.cat([seen[:, :, 1:], column], dim=2)
    return torch.stack(forecasts, dim=1)


def errors(forecasts: list[Array], truths: list[Array], steps: dict[int, int]) -> dict[str, float]:
    """Errors of forecasts [H, N] by minutes -> step; NaN truth never counts, 0 not for MAPE."""
    result = {}
    for minutes, step in steps.items():
        absolute, squared, relative = [], [], []
        for forecast, truth in zip(forecasts, truths, strict=True):
            for value, actual in zip(forecast[step - 1], truth[step - 1], strict=True):
                if np.isnan(actual):
                    continue
                absolute.append(abs(value - actual))
                squared.append((value - actual) ** 2)
                if actual != 0:
                    relative.append(100.0 * abs(value - actual) / abs(actual))
        result[f"mae_{minutes}"] = mean(absolute)
        result[f"mape_{minutes}"] = mean(relative)
        result[f"rmse_{minutes}"] = mean(squared) ** 0.5
    for name in ("mae", "mape", "rmse"):
        result[name] = sum(result[f"{name}_{minutes}"] for minutes in steps) / len(steps)
    return result


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
