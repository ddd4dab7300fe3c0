"""A sampler's name and a seed in, an Optuna sampler out.

Every sampler here serves a search that asks for several trials before it hears of any. To add one:
write a function of the seed and list it in ``SAMPLERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from core.errors import UnknownNameError

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def make_sampler(name: str, seed: int) -> BaseSampler:
    """Return the sampler called ``name``; the same seed asks for the same points.

    Raises:
        UnknownNameError: no sampler has this name.
    """
    if name not in SAMPLERS:
        raise UnknownNameError("sampler", name, SAMPLERS)
    return SAMPLERS[name](seed)


def tpe(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimator: learns which joint settings are good.

    Its first ten trials, a search's first points among them, are drawn at random. A trial that
    still runs counts as bad, so that its neighbour is not asked for at the same time.
    """
    from optuna.samplers import TPESampler  # noqa: PLC0415 - optuna is slow to import

    return TPESampler(seed=seed, n_startup_trials=10, multivariate=True, constant_liar=True)


def random(seed: int) -> BaseSampler:
    """Independent draws: the baseline that any other sampler must beat."""
    from optuna.samplers import RandomSampler  # noqa: PLC0415 - optuna is slow to import

    return RandomSampler(seed=seed)


SAMPLERS: Final[dict[str, Callable[[int], BaseSampler]]] = {
    "tpe": tpe,
    "random": random,
}
