"""Create Ray Tune schedulers, which decide which running trials stop early, by name.

Trials report the metric and the key ``epoch`` (1, 2, ...) after every epoch. To add a scheduler:
write a function of metric, mode and epochs and list it in ``SCHEDULERS``. The metric is given to
the scheduler itself, so it must not be given to ``tune.TuneConfig`` too: Tune refuses both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from core.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

Mode = Literal["min", "max"]


def make_scheduler(name: str, *, metric: str, mode: Mode, epochs: int) -> TrialScheduler:
    """Return the scheduler called ``name``.

    Args:
        name: a key of ``SCHEDULERS``.
        metric: the reported key that trials are compared by.
        mode: whether small (``min``) or large (``max``) values are good.
        epochs: the most epochs a trial runs.

    Raises:
        UnknownNameError: no scheduler has this name.
        ConfigError: a trial would have no epoch.
    """
    if name not in SCHEDULERS:
        raise UnknownNameError("scheduler", name, SCHEDULERS)
    if epochs < 1:
        raise ConfigError(f"epochs must be at least 1, got {epochs}; change --epochs")
    return SCHEDULERS[name](metric, mode, epochs)


def none(metric: str, mode: Mode, epochs: int) -> TrialScheduler:
    """Every trial runs to its end, first come first served."""
    from ray.tune.schedulers import FIFOScheduler  # noqa: PLC0415 - ray is slow to import

    return FIFOScheduler()


def asha(metric: str, mode: Mode, epochs: int) -> TrialScheduler:
    """Asynchronous successive halving (Li et al., MLSys 2020).

    After a fifth of the epochs, and again at three and nine times as many, only the better third
    of the trials that came so far goes on. A trial is stopped only before its last epoch: one that
    gets there ends by itself, so that it can save its student.
    """
    return _halving(metric, mode, epochs, max(1, epochs // 5))


def _halving(metric: str, mode: Mode, epochs: int, grace_period: int) -> TrialScheduler:
    from ray.tune.schedulers import ASHAScheduler  # noqa: PLC0415 - ray is slow to import

    if epochs == 1:
        return none(metric, mode, epochs)
    return ASHAScheduler(
        time_attr="epoch",
        metric=metric,
        mode=mode,
        max_t=epochs - 1,  # with the next line it only bounds where trials are compared
        stop_last_trials=False,
        grace_period=grace_period,
        reduction_factor=3,
    )


def hyperband(metric: str, mode: Mode, epochs: int) -> TrialScheduler:
    """Hyperband (Li et al., JMLR 2018), asynchronous: ASHA that trusts early epochs less.

    Of six trials three are compared from a ninth of the epochs on, two from a third, and one runs
    to its end; trials are compared with those of their own bracket alone.
    """
    from hpo.search.early_stopping import Hyperband  # noqa: PLC0415 - ray is slow to import

    graces = (epochs // 9, epochs // 3)
    brackets = [_halving(metric, mode, epochs, max(1, grace)) for grace in graces]
    return Hyperband([*brackets, none(metric, mode, epochs)])


def median(metric: str, mode: Mode, epochs: int) -> TrialScheduler:
    """Median stopping rule (Golovin et al., KDD 2017).

    After a fifth of the epochs a trial stops once its best result is worse than the median of the
    other trials' means so far, if there are at least three of them.
    """
    from hpo.search.early_stopping import MedianStopping  # noqa: PLC0415 - ray is slow to import

    return MedianStopping(metric, mode, max(1, epochs // 5), epochs)


SCHEDULERS: Final[dict[str, Callable[[str, Mode, int], TrialScheduler]]] = {
    "none": none,
    "asha": asha,
    "hyperband": hyperband,
    "median": median,
}
