"""Plan what a confirmation trains: the best configurations of a sweep, each on fresh seeds.

Also says what is missing before an export. Trains nothing; ``hpo.outcomes.confirmation_runs`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import ConfigError, StorageError
from core.files import log_left_out
from core.seeding import derived_seed
from hpo.records.confirmation import Confirmed, confirmed
from hpo.records.ledger import read_ledger
from hpo.records.ranking import configurations, no_student, ranked_records
from hpo.records.sweep_folder import SweepFolder, find_sweep
from hpo.records.sweep_plan import SweepPlan
from hpo.records.sweep_state import SweepState
from hpo.records.trial_records import TrialRecord, read_records
from hpo.search.fixed_runs import FixedRun
from hpo.selection import records_of

FEWEST_SEEDS = 2
"""A single one gives no spread."""
CANDIDATES = 3
"""Configurations that are confirmed, at least, before one is exported."""


@dataclass(frozen=True)
class ConfirmationPlan:
    """What a confirmation still has to run."""

    folder: SweepFolder
    """The sweep."""
    candidates: tuple[TrialRecord, ...]
    runs: tuple[FixedRun, ...]
    """Those that have not begun."""
    trials: int
    """Number of runs in all, with those begun."""
    seconds: float
    """Of training, estimated from the candidates' own trials."""
    race: Race | None = None
    """None: all candidates get all seeds."""


@dataclass(frozen=True)
class Race:
    """How a confirmation may drop candidates."""

    candidates: tuple[TrialRecord, ...]
    """Those that began, also those that were dropped before."""
    seeds: int
    """Of each, at most."""


def plan_confirmation(
    folder: SweepFolder,
    seeds: int,
    *,
    top: int = 1,
    trials: Sequence[int] | None = None,
    race: bool = False,
) -> ConfirmationPlan:
    """Choose the configurations and the runs that are missing.

    Args:
        folder: the sweep.
        seeds: runs per configuration.
        top: of how many of the best configurations.
        trials: instead of the best: the configurations of these trials.
        race: whether those that are shown to be worse than the best get no further seeds.

    Raises:
        ConfigError: too few seeds or configurations, or nothing has finished.
    """
    if seeds < FEWEST_SEEDS or top < 1:
        raise ConfigError(
            f"a confirmation needs --top of at least 1 and --seeds of at least {FEWEST_SEEDS}, got "
            f"{top} and {seeds}"
        )
    plan = folder.read_plan()
    records = read_records(folder.results)
    ranked = ranked_records(records, plan.config.metric)
    wanted = ranked if trials is None else [one for one in ranked if one.trial in trials]
    candidates = configurations(wanted)[: top if trials is None else None]
    if not candidates:
        see = f"hpo status {folder.name}"
        raise ConfigError(no_student(f"sweep {folder.name!r}", records, see))
    if not race:
        return missing_runs(folder, plan, candidates, seeds)
    left = candidates_left(folder, candidates)
    # The one that won a race needs no more seeds either.
    seeds_left = seeds if len(left) > 1 or len(candidates) == 1 else 0
    missing = missing_runs(folder, plan, left, seeds_left)
    return replace(missing, race=Race(tuple(candidates), seeds))


def candidates_left(folder: SweepFolder, candidates: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the candidates that no race has dropped."""
    drops = read_ledger(folder.confirmation.ledger_file).drops
    dropped = [one.settings for one in drops]
    return [one for one in candidates if one.settings not in dropped]


def missing_runs(
    folder: SweepFolder, plan: SweepPlan, candidates: Sequence[TrialRecord], seeds: int
) -> ConfirmationPlan:
    """Return the runs of these candidates on the first ``seeds`` seeds that have not begun."""
    state = read_ledger(folder.confirmation.ledger_file)
    begun = [(trial.settings, trial.seed) for trial in state.trials.values()]
    # Seed by seed: stopped early, every candidate has been tried about as often.
    missing = [
        (candidate, FixedRun(candidate.settings, fresh_seed(plan, index)))
        for index in range(seeds)
        for candidate in candidates
        if (candidate.settings, fresh_seed(plan, index)) not in begun
    ]
    return ConfirmationPlan(
        folder,
        tuple(candidates),
        tuple(run for _, run in missing),
        len(begun) + len(missing),
        sum(one.seconds for one, _ in missing) + _unfinished_seconds(candidates, state),
    )


def fresh_seed(plan: SweepPlan, index: int) -> int:
    """Return the ``index``-th confirmation seed: new to the sweep, shared by all configurations."""
    return derived_seed(plan.config.seed, "confirmation", index) % 2**31


def _unfinished_seconds(candidates: Sequence[TrialRecord], state: SweepState) -> float:
    average = sum(one.seconds for one in candidates) / len(candidates)
    return average * len(state.with_status("running"))


def missing_before_export(folder: SweepFolder, top: int, seeds: int) -> list[ConfirmationPlan]:
    """Return the confirmations needed before the best of a sweep is exported as confirmed.

    None if its ``top`` best configurations are confirmed. Otherwise at least ``CANDIDATES`` are
    confirmed, so that a configuration that was merely lucky can lose its place.
    """
    metric = folder.read_plan().config.metric
    first = configurations(ranked_records(read_records(folder.results), metric))[:top]
    if first and is_confirmed(folder, [record.trial for record in first]):
        return []
    return [plan_confirmation(folder, seeds, top=max(top, CANDIDATES))]


def missing_in_dataset(dataset: str, storage: Path, top: int, seeds: int) -> list[ConfirmationPlan]:
    """Return the same for every sweep that holds one of a dataset's best trials."""
    candidates: dict[str, list[int]] = {}
    # By their own errors: a trial that beats all confirmed ones is to be confirmed too.
    for record in ranked_records(records_of(dataset, storage), "val_mae")[: max(top, CANDIDATES)]:
        candidates.setdefault(record.sweep, []).append(record.trial)
    missing = []
    for name, trials in candidates.items():
        folder = find_sweep(storage, name)
        try:
            if not is_confirmed(folder, trials):
                missing.append(plan_confirmation(folder, seeds, trials=trials))
        except StorageError as error:
            log_left_out(f"sweep {name!r}", error)
    return missing


def is_confirmed(folder: SweepFolder, trials: Sequence[int]) -> bool:
    """Whether the configurations of ``trials`` ran on enough seeds and no run is unfinished."""
    state = read_ledger(folder.confirmation.ledger_file)
    if state.with_status("running"):
        return False
    metric, records = folder.read_plan().config.metric, read_records(folder.results)
    ranked = confirmed(folder, ranked_records(records, metric), metric)
    known = [one.trial.settings for one in ranked if _enough(one)]
    return all(record.settings in known for record in records if record.trial in trials)


def _enough(one: Confirmed) -> bool:
    return len(one.runs) >= FEWEST_SEEDS
