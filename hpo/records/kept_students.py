"""Delete the students of a sweep that need not stay on the disk.

With ``--keep-checkpoints K`` the best K stay: by the sweep's objective, with several objectives the
Pareto front first. Students of trials that have not ended are never deleted, nor those that were
exported or confirmed. A deleted student can be trained again (``hpo.trials.rerun``). A crash before
a deletion leaves a file too many, which is deleted when the sweep is next driven.
"""

from __future__ import annotations

from hpo.records.layout import trial_of_export
from hpo.records.ledger import read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_state import ENDED_STATUSES, SweepState
from hpo.records.trial_files import delete_student, names_of_exports
from hpo.space.objectives import pareto_front
from hpo.sweep_config import SweepConfig


class StudentKeeper:
    """Deletes students of one sweep on behalf of its driver."""

    def __init__(self, folder: SweepFolder, config: SweepConfig) -> None:
        """Delete nothing yet."""
        self._folder, self._config = folder, config
        self._deleted: set[int] = set()
        """Trials whose student is known to be absent: a long sweep has many."""

    def tidy(self, state: SweepState) -> None:
        """Delete the students of ended trials that are not kept; nothing without a limit.

        Raises:
            OSError: a file could not be deleted.
        """
        most = self._config.keep_checkpoints
        if most is None:
            return
        best = best_trials(state, self._config.objectives)[:most]
        ended = {trial.number for trial in state.with_status(*ENDED_STATUSES)}
        for number in ended - self._deleted - {*best} - self._referred_to(state):
            delete_student(self._folder, number)
            self._deleted.add(number)

    def _referred_to(self, state: SweepState) -> set[int]:
        self._folder.refresh()  # others may have confirmed or exported meanwhile
        names = names_of_exports(self._folder)
        exported = {number for name in names if (number := trial_of_export(name)) is not None}
        confirmation = read_ledger(self._folder.confirmation.ledger_file)
        confirmed = [trial.settings for trial in confirmation.trials.values()]
        return exported | {
            trial.number for trial in state.trials.values() if trial.settings in confirmed
        }


def best_trials(state: SweepState, objectives: tuple[str, ...]) -> list[int]:
    """Return the numbers of the finished trials, the best first.

    With several objectives those that none dominates come before all others; both by the first
    objective.
    """
    trials = sorted(
        state.with_status("finished"), key=lambda trial: (trial.values(objectives), trial.number)
    )
    front = pareto_front([trial.values(objectives) for trial in trials])
    ordered = front + [index for index in range(len(trials)) if index not in {*front}]
    return [trials[index].number for index in ordered]
