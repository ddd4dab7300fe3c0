"""Say in a line why a search ended before it had all its trials."""

from __future__ import annotations

from hpo.records.sweep_state import Settled


def settled_in_words(settled: Settled, metric: str) -> str:
    """Return that a search settled, after how many trials, and by which numbers."""
    return (
        f"settled after {settled.trials} trials: more could lower {metric} by at most "
        f"{settled.bound:.4f}, and another seed changes it by {settled.spread:.4f} "
        f"({settled.seeds} seeds)"
    )
