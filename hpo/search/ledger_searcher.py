"""Ray Tune asks for configurations and reports results; Optuna and the ledger stand behind.

The study lives in memory and is rebuilt from the ledger whenever a sweep starts: ended trials are
told to it, unfinished ones are handed out first, then the space's first points, then what the
sampler asks for. Every answer is in the ledger, and every ended trial in its record, before Ray
Tune or the user hears of it. Neither Ray's snapshots nor an Optuna database are ever read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from core.errors import ConfigError
from core.seeding import derived_seed
from hpo.records.ledger import Ledger, SweepState, Trial
from hpo.search.optuna_study import STATES, told_trials
from hpo.search.samplers import make_sampler
from hpo.space.objectives import COSTS
from hpo.space.search_space import SearchSpace
from hpo.sweep_config import SweepConfig
from hpo.trials.student_costs import Constraints, StudentCosts, limits_in_words, why_too_much

MOST_INFEASIBLE = 500
"""Students too large in a row before a search gives up."""
MOST_REPEATS = 20
"""Times a sampler may say what was said before until it is believed to know nothing else."""
LOST_WORKER = "its worker process died, also when tried again; see the memory of its machine"


Facts = dict[str, Any]
Record = Callable[[Trial, str, str | None, Facts], None]
"""Takes a trial, its status, why it failed, and ``metrics``, ``epoch``, ``seconds`` … of it."""


class LedgerSearcher(Searcher):  # type: ignore[misc]
    """Hands out trials and takes in their results, through one ledger."""

    def __init__(
        self,
        config: SweepConfig,
        space: SearchSpace,
        ledger: Ledger,
        sweep_path: str,
        max_concurrent: int,
        record: Record,
        costs: StudentCosts | None = None,
    ) -> None:
        """Rebuild the study from ``ledger``.

        Args:
            config: the sweep's settings.
            space: what to search.
            ledger: open for writing, replayed.
            sweep_path: the sweep's address, handed to every trial.
            max_concurrent: trials at once.
            record: writes the record of an ended trial.
            costs: tells what students will cost; None: nobody asks.
        """
        super().__init__(metric=config.metric, mode="min")
        self.costs = costs
        self.config, self.ledger, self.record = config, ledger, record
        self.sweep_path, self.max_concurrent = sweep_path, max_concurrent
        self.distributions = space.distributions()
        self.study = self._rebuild(ledger.state, space)
        self.unfinished = ledger.state.with_status("running")
        self.live: dict[str, tuple[Trial, optuna.Trial]] = {}
        """Ray's trial id -> ours and Optuna's."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next configuration, None if not now, ``FINISHED`` if there is no more."""
        if len(self.live) >= self.max_concurrent:
            return None
        if not self.unfinished and self.ledger.state.num_begun >= self.config.trials:
            return str(Searcher.FINISHED)
        trial, asked = self._next()
        self.live[trial_id] = (trial, asked)
        return {
            "sweep": self.sweep_path,
            "trial": trial.number,
            "seed": trial.seed,
            "settings": trial.settings,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note an epoch, once, however often Ray tells it."""
        trial, asked = self.live[trial_id]
        epoch = result.get("epoch")
        if "ended" in result or epoch is None or epoch in trial.history:
            return
        metrics = _metrics(result)
        if self.config.metric in metrics:
            self.ledger.append("epoch", trial=trial.number, epoch=epoch, metrics=metrics)
            if len(self.config.objectives) == 1:  # with several, Optuna takes none
                asked.report(metrics[self.config.metric], step=epoch)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record how a trial ended, then tell the study."""
        if result is not None and not error:
            self.on_trial_result(trial_id, result)
        trial, asked = self.live.pop(trial_id)
        status, reason, facts = self._judge(trial, result or {}, error)
        self.record(trial, status, reason, facts)
        self._note_end(trial, status, reason, facts)
        values = trial.values(self.config.objectives) if status == "finished" else None
        self.study.tell(asked, values, state=STATES[status])

    def __getstate__(self) -> dict[str, Any]:
        """Give Ray Tune's snapshot nothing: it is never read, and files cannot be pickled."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger is already on the disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a sweep resumes from its ledger."""

    def _judge(
        self, trial: Trial, result: dict[str, Any], error: bool
    ) -> tuple[str, str | None, Facts]:
        """Tell apart a trial's own last word, a scheduler's stop and a lost worker."""
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

    def _note_end(self, trial: Trial, status: str, reason: str | None, facts: Facts) -> None:
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
        """Return a trial whose student keeps within the sweep's limits.

        Raises:
            ConfigError: the sampler finds none.
        """
        for _ in range(MOST_INFEASIBLE):
            asked = self._ask()
            trial = (
                self.unfinished.pop(0) if self.unfinished else self._new_trial(dict(asked.params))
            )
            excess = self._excess(trial.settings)
            for name, amount in excess.items():
                asked.set_constraint(name, amount)
            if all(amount <= 0 for amount in excess.values()):
                return trial, asked
            self._refuse(trial, asked)
        raise ConfigError(
            f"a student of {limits_in_words(self.config)} must be within reach of the sampler, but "
            f"{MOST_INFEASIBLE} in a row were larger; raise the limit or narrow the space"
        )

    def _ask(self) -> optuna.Trial:
        """Ask the sampler, again where it says what was said before.

        A space of so few points that nothing else comes is searched again, with other seeds.
        """
        said = [trial.settings for trial in self.ledger.state.trials.values()]
        asked = self.study.ask(self.distributions)
        for _ in range(MOST_REPEATS):
            if self.unfinished or asked.params not in said:
                break
            self.study.tell(asked, state=TrialState.FAIL)
            asked = self.study.ask(self.distributions)
        return asked

    def _costs(self, trial: Trial) -> Facts:
        """Return what the student costs; nothing of a trial that no student can come of."""
        try:
            return {} if self.costs is None else self.costs.of(trial.settings)
        except ConfigError:
            return {}

    def _excess(self, settings: dict[str, Any]) -> Constraints:
        return {} if self.costs is None else self.costs.excess(settings)

    def _refuse(self, trial: Trial, asked: optuna.Trial) -> None:
        """Record a trial whose student is too large or too slow, without training it."""
        facts: Facts = {**self._costs(trial), "metrics": {}}
        reason = why_too_much(self.config, facts)
        self.record(trial, "infeasible", reason, facts)
        self._note_end(trial, "infeasible", reason, facts)
        self.study.tell(asked, [math.inf] * len(self.config.objectives))

    def _new_trial(self, settings: dict[str, Any], seed: int | None = None) -> Trial:
        number = len(self.ledger.state.trials)
        if seed is None:
            seed = derived_seed(self.config.seed, "trial", number) % 2**31
        self.ledger.append("suggested", trial=number, settings=settings, seed=seed)
        return self.ledger.state.trials[number]

    def _rebuild(self, state: SweepState, space: SearchSpace) -> optuna.Study:
        # A resumed sampler must not draw again what it drew at the start, hence the count.
        seed = derived_seed(self.config.seed, "sampler", len(state.trials)) % 2**32
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            directions=["minimize"] * len(self.config.objectives),
            sampler=make_sampler(self.config.sampler, seed),
        )
        study.add_trials(told_trials(state, self.config, self.distributions))
        for trial in state.with_status("running"):
            study.enqueue_trial(trial.settings)
        for point in space.points()[len(state.trials) :]:
            study.enqueue_trial(point)
        return study


def _metrics(result: dict[str, Any]) -> dict[str, float]:
    """Pick the metrics out of a report; what is not finite has no place in a record."""
    return {
        name: float(value)
        for name, value in result.items()
        if name.startswith(("val_", "train_")) and math.isfinite(value)
    }
