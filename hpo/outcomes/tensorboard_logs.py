"""Log a sweep's trials for TensorBoard: one run per trial, one point per epoch.

    STORAGE/NAME/tensorboard/0007/     ``tensorboard --logdir STORAGE/NAME/tensorboard``

The logs are a view of the ledger: rewritten whenever a sweep starts, never read back.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError
from hpo.driver.observers import SweepObserver
from hpo.records.sweep_state import SweepState, Trial

if TYPE_CHECKING:
    from hpo.records.sweep_plan import SweepPlan


def load_tensorboard() -> type[Any]:
    """Return the writer of TensorBoard's logs.

    Raises:
        ConfigError: the package tensorboard is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ConfigError(
            "--tensorboard needs the package tensorboard, which is not installed; "
            "install this project with its extra [tensorboard], or leave the option out"
        ) from error
    writer: type[Any] = SummaryWriter
    return writer


class TensorBoardLogs(SweepObserver):
    """Logs every epoch of every trial.

    Trials that ended are closed, so that no more files are open than trials run.
    """

    def __init__(self, folder: Path) -> None:
        """Log below ``folder``.

        Raises:
            ConfigError: the package tensorboard is missing.
        """
        self._new_writer, self._folder = load_tensorboard(), folder
        self._writers: dict[int, Any] = {}
        self._epochs: dict[int, int] = {}
        self._closed: set[int] = set()
        self._begun = False

    def on_change(self, plan: SweepPlan, state: SweepState) -> None:
        """Log what is new."""
        if not self._begun:  # not before the sweep is known to run
            shutil.rmtree(self._folder, ignore_errors=True)
            self._begun = True
        for trial in state.trials.values():
            if trial.number not in self._closed:
                self._log(trial)

    def _log(self, trial: Trial) -> None:
        if trial.status == "infeasible":
            self._closed.add(trial.number)
            return
        writer = self._writers.get(trial.number) or self._begin(trial)
        for epoch, metrics in trial.history.items():
            if epoch > self._epochs[trial.number]:
                self._epochs[trial.number] = epoch
                for name, value in metrics.items():
                    writer.add_scalar(name, value, epoch)
        if trial.status != "running":
            if trial.reason is not None:
                writer.add_text("reason", trial.reason)
            self._close(trial.number)

    def _begin(self, trial: Trial) -> Any:
        writer = self._new_writer(str(self._folder / f"{trial.number:04d}"))
        settings = {**trial.settings, "seed": trial.seed}
        writer.add_text("settings", ", ".join(f"{name}={settings[name]}" for name in settings))
        self._writers[trial.number], self._epochs[trial.number] = writer, 0
        return writer

    def _close(self, number: int) -> None:
        self._writers.pop(number).close()
        self._epochs.pop(number)
        self._closed.add(number)
