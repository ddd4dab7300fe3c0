"""Export a sweep's trials to an Optuna storage, for optuna-dashboard and other tools.

The study is never read back: a sweep resumes from its ledger.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import datetime

import optuna
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from core.errors import ConfigError, StorageError
from hpo.records.ledger import read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.trial_records import TrialRecord, read_records
from hpo.search.optuna_study import ended_trials

_IN_MEMORY = {"sqlite://", "sqlite:///", "sqlite:///:memory:"}
"""Databases that end with the process."""


def export_study(folder: SweepFolder, url: str) -> int:
    """Write the trials of a sweep that ended to an Optuna storage.

    Args:
        folder: the sweep; its name becomes the study's.
        url: of the storage, such as ``sqlite:///study.db``.

    Returns:
        How many trials were written.

    Raises:
        ConfigError: no trial has ended.
        StorageError: the storage cannot be used or would not last, or holds a study of this name.
    """
    if url.partition("?")[0] in _IN_MEMORY:
        raise StorageError(
            f"--to must be an Optuna storage that lasts, such as sqlite:///study.db, got {url}, "
            "which ends with this command; name a file"
        )
    plan = folder.read_plan()
    config = plan.config
    ended = ended_trials(read_ledger(folder.ledger_file), config, plan.space.distributions())
    if not ended:
        raise ConfigError(
            f"a study needs a trial that ended, but sweep {folder.name!r} has none yet; see "
            f"`hpo status {folder.name}`"
        )
    _tell_times(ended, read_records(folder.results))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            storage=url,
            study_name=folder.name,
            directions=["minimize"] * len(config.objectives),
        )
        study.set_user_attr("objectives", list(config.objectives))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(config.objectives))
        study.add_trials(ended)
    except optuna.exceptions.DuplicatedStudyError as error:
        raise StorageError(
            f"the storage must not hold a study called {folder.name!r} yet, but it does; "
            "choose another --to, or delete that study"
        ) from error
    # Any error of the database's own library; its text holds no password.
    except (optuna.exceptions.OptunaError, SQLAlchemyError, ImportError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise StorageError(
            f"--to must be an Optuna storage that can be written, such as sqlite:///study.db: "
            f"{reason}"
        ) from error
    return len(ended)


def _tell_times(trials: Sequence[FrozenTrial], records: Sequence[TrialRecord]) -> None:
    """Give trials the times they really began and ended at, in this machine's clock.

    Optuna's own times have no zone, and dashboards show them as they are.
    """
    known = {record.trial: record for record in records}
    for trial in trials:
        record = known.get(trial.user_attrs["trial"])
        if record is not None:
            trial.datetime_start = _local(record.started)
            trial.datetime_complete = _local(record.ended)


def _local(time: str) -> datetime:
    return datetime.fromisoformat(time).astimezone().replace(tzinfo=None)
