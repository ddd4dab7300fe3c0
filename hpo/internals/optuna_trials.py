"""Report ended trials to an Optuna study, those of another process too.

Which state of Optuna stands for which status of a trial is said here alone. Suggests nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

STATES: Final = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    # Reported with its constraints and an infinite error: samplers learn from complete trials only.
    "infeasible": TrialState.COMPLETE,
}
"""Status of an ended trial -> its state in a study."""


def ended_trial(status: str, sampler_attributes: dict[str, Any], **fields: Any) -> FrozenTrial:
    """Return an ended trial that the study's sampler did not ask for.

    Args:
        status: a key of ``STATES``.
        sampler_attributes: what the sampler would have noted itself; see ``optuna_attributes``.
        fields: of ``optuna.trial.create_trial``, but for ``state``.
    """
    return create_trial(state=STATES[status], system_attrs=sampler_attributes, **fields)


def report_end(
    study: optuna.Study, trial: optuna.Trial, status: str, values: Sequence[float] | None = None
) -> None:
    """Report how a trial of ``study`` ended; ``values`` where it has a complete state."""
    study.tell(trial, values, state=STATES[status])


def discard(study: optuna.Study, trial: optuna.Trial) -> None:
    """Close a trial that ``study`` suggested and that nobody will run."""
    study.tell(trial, state=TrialState.FAIL)
