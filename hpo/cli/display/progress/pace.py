"""Estimate how long work still takes from how fast it has gone. Prints nothing."""

from __future__ import annotations

import time


class Pace:
    """Notes how far some work is, and what is left of it."""

    def __init__(self, patience: float = 1.0) -> None:
        """Begin with the first report: what came before it, such as a compilation, counts not.

        Args:
            patience: seconds of work before anything is estimated.
        """
        self._patience = patience
        self._began: tuple[float, float] | None = None

    def seconds_left(self, done: float, total: float) -> float | None:
        """Return the seconds until ``total`` is done; None where that cannot be told yet."""
        now = time.monotonic()
        if self._began is None:
            self._began = now, done
        began, before = self._began
        if done <= before or now - began < self._patience:
            return None
        return (now - began) / (done - before) * (total - done)
