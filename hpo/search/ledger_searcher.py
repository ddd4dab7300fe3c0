"""Suggest configurations to Ray Tune from an Optuna study, and log every event to the ledger.

The study is kept in memory and rebuilt from the ledger whenever a sweep starts: ended trials are
added to it, unfinished ones are suggested first, then the space's first points, then what the
sampler suggests. Every suggestion is in the ledger, and every ended trial in its record, before
Ray Tune or the user learns of it. Neither Ray's snapshots nor an Optuna database are ever read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from core.errors import ConfigError
from core.seeding import derived_seed
from hpo.internals.optuna_trials import discard, report_end
from hpo.records.ledger import Ledger
from hpo.records.sweep_state import OUT_OF_MEMORY, SweepState, Trial
from hpo.search.optuna_study import ended_trials
from hpo.search.samplers import make_sampler
from hpo.search.settling import Settling
from hpo.space.objectives import COSTS
from hpo.space.search_space import SearchSpace
from hpo.sweep_config import SweepConfig
from hpo.trials.student_costs import Constraints, StudentCosts, limits_in_words, why_too_much

MAX_INFEASIBLE = 500
"""Suggestions in a row beyond a limit before the search gives up."""
MAX_REPEATS = 20
"""Repeated suggestions in a row before a repeat is accepted: the space may hold nothing else."""
LOST_WORKER = "its worker process died, also when tried again; see the memory of its machine"


Facts = dict[str, Any]
Record = Callable[[Trial, str, str | None, Facts], None]
"""Takes a trial, its status, why it failed, and its ``metrics``, ``epoch``, ``seconds`` …."""


@dataclass(frozen=True)
class KnownTrials:
    """Trials that a search does not run, but learns from."""

    confirmed: Sequence[Trial] = ()
    """Runs of the sweep's confirmation, which tell how much a seed changes."""
    told: Sequence[Trial] = ()
    """Ended trials of another sweep, with settings of this one's space."""


class LedgerSearcher(Searcher):  # type: ignore[misc]
    """Suggests trials and receives their results, logging both to one ledger."""

    def __init__(
        self,
        config: SweepConfig,
        space: SearchSpace,
        ledger: Ledger,
        sweep_path: str,
        max_concurrent: int,
        record: Record,
        costs: StudentCosts | None = None,
        known: KnownTrials | None = None,
    ) -> None:
        """Rebuild the study from ``ledger``.

        Args:
            config: the sweep's settings.
            space: what to search.
            ledger: open for writing, replayed.
            sweep_path: the sweep's address, passed to every trial.
            max_concurrent: trials at once.
            record: writes the record of an ended trial.
            costs: predicts what students will cost; None: costs neither matter nor are limited.
            known: trials of other ledgers.
        """
        super().__init__(metric=config.metric, mode="min")
        self.costs = costs
        self.config, self.ledger, self.record = config, ledger, record
        self.sweep_path, self.max_concurrent = sweep_path, max_concurrent
        self.distributions = space.distributions()
        known = known or KnownTrials()
        self.told = known.told
        self.study = self._rebuild(ledger.state, space)
        self.unfinished = ledger.state.with_status("running")
        self.settling = (
            Settling(config.metric, self.distributions, known.confirmed, config.seed)
            if config.stop_when_settled and not ledger.state.went_on
            else None
        )
        self.live: dict[str, tuple[Trial, optuna.Trial]] = {}
        """Ray's trial id -> ours and Optuna's."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next configuration, None if not now, ``FINISHED`` if there is no more."""
        if len(self.live) >= self.max_concurrent:
            return None
        if not self.unfinished and self._is_complete():
            return str(Searcher.FINISHED)
        trial, optuna_trial = self._next()
        self.live[trial_id] = (trial, optuna_trial)
        return {
            "sweep": self.sweep_path,
            "trial": trial.number,
            "seed": trial.seed,
            "settings": trial.settings,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Log an epoch, once, however often Ray reports it."""
        trial, optuna_trial = self.live[trial_id]
        epoch = result.get("epoch")
        if "ended" in result or epoch is None or epoch in trial.history:
            return
        metrics = _metrics(result)
        if self.config.metric in metrics:
            self.ledger.append("epoch", trial=trial.number, epoch=epoch, metrics=metrics)
            if len(self.config.objectives) == 1:  # Optuna refuses reports with several
                optuna_trial.report(metrics[self.config.metric], step=epoch)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record how a trial ended, then report it to the study."""
        if result is not None and not error:
            self.on_trial_result(trial_id, result)
        trial, optuna_trial = self.live.pop(trial_id)
        if (result or {}).get("status") == OUT_OF_MEMORY and self._may_grow():
            # Unfinished, to be tried again; to the sampler it goes on running meanwhile.
            self.ledger.append(
                "outgrown", trial=trial.number, gpus_per_trial=self.config.gpus_per_trial
            )
            return
        status, reason, facts = self._judge(trial, result or {}, error)
        self.record(trial, status, reason, facts)
        self._log_end(trial, status, reason, facts)
        values = trial.values(self.config.objectives) if status == "finished" else None
        report_end(self.study, optuna_trial, status, values)

    def _may_grow(self) -> bool:
        """Whether trials have less than a whole GPU, so that a larger share is left to try."""
        share = self.config.gpus_per_trial
        return not isinstance(share, str) and share is not None and 0 < share < 1

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing for Ray Tune's snapshot: it is never read, and files cannot be pickled."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger is already on the disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a sweep resumes from its ledger."""

    def _judge(
        self, trial: Trial, result: dict[str, Any], error: bool
    ) -> tuple[str, str | None, Facts]:
        """Return status, reason and facts of a trial that ended, was stopped or lost its worker."""
        metric = self.config.metric
        if result.get("status") == "finished":
            metrics = _metrics(result)
            facts = {**self._costs(trial), **result, "metrics": metrics}
            known = metrics.keys() | facts.keys() & set(COSTS)
            missing = [name for name in self.config.objectives if name not in known]
            if not missing:
                return "finished", None, facts
            result = {"ended": True, "reason": f"{missing[0]} is not a number on these days"}
        best = min(trial.history, key=lambda epoch: trial.history[epoch][metric], default=0)
        facts = {
            **self._costs(trial),
            "metrics": trial.history.get(best, {}),
            "epoch": max(trial.history, default=0),
            "best_epoch": best,
        }
        if error or "ended" in result:
            return "failed", result.get("reason", LOST_WORKER), facts
        return "pruned", None, facts

    def _log_end(self, trial: Trial, status: str, reason: str | None, facts: Facts) -> None:
        sizes = {name: facts[name] for name in COSTS if name in facts}
        self.ledger.append(
            "ended",
            trial=trial.number,
            status=status,
            reason=reason,
            metrics=facts["metrics"],
            sizes=sizes,
        )

    def _next(self) -> tuple[Trial, optuna.Trial]:
        """Return a trial whose student keeps within the sweep's limits, and Optuna's.

        Raises:
            ConfigError: the sampler finds none.
        """
        repeated = self._to_repeat()
        if repeated is not None:
            return self._again(repeated)
        for _ in range(MAX_INFEASIBLE):
            optuna_trial = self._ask()
            trial = (
                self.unfinished.pop(0)
                if self.unfinished
                else self._new_trial(dict(optuna_trial.params))
            )
            excess = self._excess(trial.settings)
            for name, amount in excess.items():
                optuna_trial.set_constraint(name, amount)
            if all(amount <= 0 for amount in excess.values()):
                return trial, optuna_trial
            self._end_infeasible(trial, optuna_trial)
        raise ConfigError(
            f"a student of {limits_in_words(self.config)} must be within reach of the sampler, but "
            f"{MAX_INFEASIBLE} in a row were larger; raise the limit or narrow the space"
        )

    def _is_complete(self) -> bool:
        """Whether there is nothing more to suggest; notes in the ledger where it has settled."""
        state = self.ledger.state
        if state.num_begun >= self.config.trials or state.settled is not None:
            return True
        settled = None if self.settling is None else self.settling.judge(state, self.study)
        if settled is not None:
            self.ledger.append("settled", **vars(settled))
        return settled is not None

    def _to_repeat(self) -> dict[str, Any] | None:
        """Return a configuration that is to run on another seed, once nothing waits."""
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if self.settling is None or self.unfinished or waiting:
            return None
        return self.settling.to_repeat(self.ledger.state)

    def _again(self, settings: dict[str, Any]) -> tuple[Trial, optuna.Trial]:
        """Return a trial of a configuration that was tried before, with a seed of its own."""
        self.study.enqueue_trial(settings)
        return self._new_trial(dict(settings)), self.study.ask(self.distributions)

    def _ask(self) -> optuna.Trial:
        """Ask the sampler, again while it repeats a configuration.

        A space of so few points that nothing else comes is searched again, with other seeds.
        """
        tried = [one.settings for one in [*self.told, *self.ledger.state.trials.values()]]
        optuna_trial = self.study.ask(self.distributions)
        for _ in range(MAX_REPEATS):
            if self.unfinished or optuna_trial.params not in tried:
                break
            discard(self.study, optuna_trial)
            optuna_trial = self.study.ask(self.distributions)
        return optuna_trial

    def _costs(self, trial: Trial) -> Facts:
        """Return what the student costs; nothing where its settings allow no student."""
        try:
            return {} if self.costs is None else self.costs.of(trial.settings)
        except ConfigError:
            return {}

    def _excess(self, settings: dict[str, Any]) -> Constraints:
        return {} if self.costs is None else self.costs.excess(settings)

    def _end_infeasible(self, trial: Trial, optuna_trial: optuna.Trial) -> None:
        """Record a trial whose student is too large or too slow, without training it."""
        facts: Facts = {**self._costs(trial), "metrics": {}}
        reason = why_too_much(self.config, facts)
        self.record(trial, "infeasible", reason, facts)
        self._log_end(trial, "infeasible", reason, facts)
        report_end(self.study, optuna_trial, "infeasible", [math.inf] * len(self.config.objectives))

    def _new_trial(self, settings: dict[str, Any], seed: int | None = None) -> Trial:
        number = len(self.ledger.state.trials)
        if seed is None:
            seed = derived_seed(self.config.seed, "trial", number) % 2**31
        self.ledger.append("suggested", trial=number, settings=settings, seed=seed)
        return self.ledger.state.trials[number]

    def _rebuild(self, state: SweepState, space: SearchSpace) -> optuna.Study:
        # With the count, a resumed sampler does not draw again what it drew at the start.
        seed = derived_seed(self.config.seed, "sampler", len(state.trials)) % 2**32
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            directions=["minimize"] * len(self.config.objectives),
            sampler=make_sampler(self.config.sampler, seed),
        )
        study.add_trials(ended_trials(state, self.config, self.distributions, self.told))
        for trial in state.with_status("running"):
            study.enqueue_trial(trial.settings)
        for point in space.points()[len(state.trials) :]:
            study.enqueue_trial(point)
        return study


def _metrics(result: dict[str, Any]) -> dict[str, float]:
    """Return the finite metrics of a report; the others have no place in a record."""
    return {
        name: float(value)
        for name, value in result.items()
        if name.startswith(("val_", "train_")) and math.isfinite(value)
    }
