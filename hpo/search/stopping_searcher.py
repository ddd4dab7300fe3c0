"""Wrap a searcher so that its first error stops the sweep.

Ray Tune wraps errors of a searcher in texts, and takes some of them for a trial's. Here the first
one is kept, raised again at every later call, and found in ``failure`` once Ray Tune has given up.
A trial whose storage failed stops the sweep the same way. Suggests nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune.search import Searcher

from core.errors import StorageError
from hpo.records.storage_faults import STOPPED


class StoppingSearcher(Searcher):  # type: ignore[misc]
    """Delegates to ``searcher`` until something fails."""

    def __init__(self, searcher: Searcher, after_end: Callable[[], None] = lambda: None) -> None:
        """Wrap ``searcher``; ``after_end`` is called when a trial has ended."""
        super().__init__(metric=searcher.metric, mode=searcher.mode)
        self._after_end = after_end
        self._wrapped = searcher  # not `searcher`: Ray Tune would save its state
        self.failure: Exception | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return what the searcher suggests."""
        with self._first_error_kept():
            suggested: dict[str, Any] | str | None = self._wrapped.suggest(trial_id)
            return suggested

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass a report on."""
        with self._first_error_kept():
            _raise_if_stopped(result)
            self._wrapped.on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass an end on, unless the trial's storage failed: such a trial stays unfinished."""
        with self._first_error_kept():
            _raise_if_stopped(result or {})
            self._wrapped.on_trial_complete(trial_id, result, error)
            self._after_end()

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing for Ray Tune's snapshot: it is never read."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Do nothing, as the searcher."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, as the searcher."""

    @contextmanager
    def _first_error_kept(self) -> Iterator[None]:
        if self.failure is not None:
            raise self.failure
        try:
            yield
        except Exception as error:
            self.failure = error
            raise


def _raise_if_stopped(result: dict[str, Any]) -> None:
    if result.get("status") == STOPPED:
        raise StorageError(result["reason"])
