"""Compute hypervolumes with the routine that Optuna's samplers use, which it does not publish."""

from __future__ import annotations

from collections.abc import Sequence


def unit_hypervolume(points: Sequence[Sequence[float]]) -> float:
    """Return the share of the unit cube that ``points`` within it dominate, smaller being better.

    Args:
        points: at least one, each with a coordinate in [0, 1) per objective.
    """
    import numpy as np  # noqa: PLC0415 - optuna is slow to import, and numpy comes with it
    from optuna._hypervolume import compute_hypervolume  # noqa: PLC0415

    return float(compute_hypervolume(np.array(points), np.ones(len(points[0]))))
