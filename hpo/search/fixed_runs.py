"""Run a fixed list of configurations and seeds as the trials of a sweep.

No sampler suggests any of them. All the rest, the ledger, the records and what a lost worker
means, is ``LedgerSearcher``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from hpo.records.ledger import Ledger
from hpo.records.sweep_state import Trial
from hpo.search.ledger_searcher import LedgerSearcher, Record
from hpo.space.search_space import SearchSpace
from hpo.sweep_config import SweepConfig


@dataclass(frozen=True)
class FixedRun:
    """One configuration with one seed."""

    settings: dict[str, Any]
    seed: int


class FixedRunSearcher(LedgerSearcher):
    """Suggests the ledger's unfinished trials first, then a list of runs."""

    def __init__(
        self,
        config: SweepConfig,
        space: SearchSpace,
        ledger: Ledger,
        sweep_path: str,
        max_concurrent: int,
        record: Record,
        runs: Sequence[FixedRun],
    ) -> None:
        """Take the ``runs`` that are not in the ledger yet; the rest as ``LedgerSearcher``."""
        super().__init__(config, space, ledger, sweep_path, max_concurrent, record)
        self.runs = list(runs)

    def _next(self) -> tuple[Trial, optuna.Trial]:
        if self.unfinished:
            trial = self.unfinished.pop(0)
        else:
            run = self.runs.pop(0)
            trial = self._new_trial(run.settings, run.seed)
        self.study.enqueue_trial(trial.settings)
        return trial, self.study.ask(self.distributions)
