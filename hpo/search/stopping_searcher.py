"""A searcher in, the same searcher out, but one that ends the sweep at its first error.

Ray Tune wraps errors of a searcher in texts, and takes some of them for a trial's. Here the first
one is kept, raised again whatever is asked afterwards, and found in ``failure`` once Ray Tune has
given up. Trials whose storage failed end the sweep the same way. Searches nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune.search import Searcher

from core.errors import StorageError
from hpo.records.storage_faults import STOPPED


class StoppingSearcher(Searcher):  # type: ignore[misc]
    """Asks ``searcher`` until something fails."""

    def __init__(self, searcher: Searcher, after_end: Callable[[], None] = lambda: None) -> None:
        """Stand in front of ``searcher``; ``after_end`` is called when a trial has ended."""
        super().__init__(metric=searcher.metric, mode=searcher.mode)
        self._after_end = after_end
        self._asked = searcher  # not `searcher`: Ray Tune would ask it for a state
        self.failure: Exception | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return what the searcher suggests."""
        with self._failing_for_good():
            suggested: dict[str, Any] | str | None = self._asked.suggest(trial_id)
            return suggested

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass a report on."""
        with self._failing_for_good():
            _refuse_stopped(result)
            self._asked.on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass an end on; that of a trial whose storage failed is none, it stays unfinished."""
        with self._failing_for_good():
            _refuse_stopped(result or {})
            self._asked.on_trial_complete(trial_id, result, error)
            self._after_end()

    def __getstate__(self) -> dict[str, Any]:
        """Give Ray Tune's snapshot nothing: it is never read."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Do nothing, as the searcher."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, as the searcher."""

    @contextmanager
    def _failing_for_good(self) -> Iterator[None]:
        if self.failure is not None:
            raise self.failure
        try:
            yield
        except Exception as error:
            self.failure = error
            raise


def _refuse_stopped(result: dict[str, Any]) -> None:
    if result.get("status") == STOPPED:
        raise StorageError(result["reason"])
