"""Divide a confirmation's race into rounds, and write to its ledger who gets no further seeds.

Between two rounds the candidates are compared (``hpo.outcomes.racing``). A round is planned when
those before it have ended, so a race that was stopped goes on where it was. Trains nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hpo.outcomes.confirmation_planning import (
    ConfirmationPlan,
    candidates_left,
    fresh_seed,
    missing_runs,
)
from hpo.outcomes.racing import Look, looks, losers
from hpo.records.confirmation import confirmed_by
from hpo.records.ledger import read_ledger
from hpo.records.sweep_state import Drop
from hpo.records.trial_files import writable_ledger
from hpo.records.trial_records import read_records


@dataclass(frozen=True)
class Round:
    """What a race runs before it compares the candidates again."""

    plan: ConfirmationPlan
    look: Look | None
    """None: all seeds are used then."""


def rounds(wanted: ConfirmationPlan) -> Iterator[Round]:
    """Yield what a race runs, each round planned when those before have ended."""
    race, folder = wanted.race, wanted.folder
    if race is None:
        yield Round(wanted, None)
        return
    for look in [*looks(len(race.candidates), race.seeds), None]:
        left = candidates_left(folder, race.candidates)
        if len(left) == 1 < len(race.candidates):
            return
        until = race.seeds if look is None else look.seeds
        part = missing_runs(folder, folder.read_plan(), left, until)
        ended = read_ledger(folder.confirmation.ledger_file).num_ended
        if ended < part.trials or (look is not None and _drops(part, look)):
            yield Round(part, look)


def drop_losers(wanted: ConfirmationPlan, look: Look) -> None:
    """Write to the confirmation's ledger who gets no further seeds; its lock is held."""
    drops = _drops(wanted, look)
    if drops:
        with writable_ledger(wanted.folder.confirmation) as ledger:
            for drop in drops:
                ledger.append("dropped", **vars(drop))


def _drops(wanted: ConfirmationPlan, look: Look) -> list[Drop]:
    """Return the candidates that are worse than the best of them at a look."""
    plan, runs = wanted.folder.read_plan(), read_records(wanted.folder.confirmation.results)
    index = {fresh_seed(plan, at): at for at in range(look.seeds)}
    errors = [
        {
            index[seed]: error
            for seed, error in confirmed_by(runs, one, plan.config.metric).by_seed.items()
            if seed in index
        }
        for one in wanted.candidates
    ]
    numbers = [one.trial for one in wanted.candidates]
    return [
        Drop(
            wanted.candidates[one.index].settings,
            candidate=numbers[one.index],
            against=numbers[one.best],
            seeds=look.seeds,
            p=one.p,
            level=look.level,
        )
        for one in losers(errors, look)
    ]
