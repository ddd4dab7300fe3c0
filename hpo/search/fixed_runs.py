"""A list of configurations and seeds in, the same trials as a search would run out.

For those who know what they want trained: nothing is asked of a sampler. All the rest, ledger,
records and what a worker's death means, is ``LedgerSearcher``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from hpo.records.ledger import Ledger, Trial
from hpo.search.ledger_searcher import LedgerSearcher, Record
from hpo.space.search_space import SearchSpace
from hpo.sweep_config import SweepConfig


@dataclass(frozen=True)
class PlannedRun:
    """One configuration with one seed."""

    settings: dict[str, Any]
    seed: int


class PlannedRunSearcher(LedgerSearcher):
    """Hands out what the ledger knows as unfinished, then a list."""

    def __init__(
        self,
        config: SweepConfig,
        space: SearchSpace,
        ledger: Ledger,
        path: str,
        max_concurrent: int,
        record: Record,
        runs: Sequence[PlannedRun],
    ) -> None:
        """Take the ``runs`` that the ledger does not know yet; the rest as ``LedgerSearcher``."""
        super().__init__(config, space, ledger, path, max_concurrent, record)
        self.runs = list(runs)

    def _next(self) -> tuple[Trial, optuna.Trial]:
        if self.unfinished:
            trial = self.unfinished.pop(0)
        else:
            run = self.runs.pop(0)
            trial = self._new_trial(run.settings, run.seed)
        self.study.enqueue_trial(trial.settings)
        return trial, self.study.ask(self.distributions)
