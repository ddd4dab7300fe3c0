"""Create Optuna samplers by name, and state what each can do.

Every sampler here can suggest several trials before any of them has ended. To add one: write a
function of the seed and list it in ``SAMPLERS`` with what it can do. Knows nothing of ledgers and
sweeps; whoever rebuilds a study marks its trials with ``generation_attributes``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError, UnknownNameError
from hpo.internals.optuna_attributes import CMAES_GENERATION, NSGA2_GENERATION

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

POPULATION = 10
"""Trials per generation of an evolutionary sampler; small, since sweeps are tens of trials."""


AUTO_SAMPLER: Final = "auto"
"""In place of a name: the one that ``choose_sampler`` names."""
MOST_TRIALS_OF_GP = 100
"""Beyond, a Gaussian process takes seconds for each suggestion, and the model knows enough."""


@dataclass(frozen=True)
class SamplerKind:
    """A sampler and what it can do."""

    make: Callable[[int], BaseSampler]
    several_objectives: bool = False
    constraints: bool = False
    """Whether it learns by how much a configuration violates a constraint."""
    generation_attribute: str | None = None
    """The attribute in which an evolutionary sampler notes the generation of a trial."""


def make_sampler(name: str, seed: int) -> BaseSampler:
    """Return the sampler called ``name``; the same seed suggests the same points.

    Raises:
        UnknownNameError: no sampler has this name.
    """
    return _kind(name).make(seed)


def choose_sampler(trials: int, objectives: int) -> tuple[str, str]:
    """Return the sampler that ``auto`` stands for, and why in a few words.

    Both that it may choose learn what keeps within limits. How they compare on a made-up error:
    ``benchmarks.samplers``, docs/RESULTS.md.

    Args:
        trials: that the sweep is to have.
        objectives: how many.
    """
    if objectives > 1:
        return "tpe", "as there are several objectives"
    if trials > MOST_TRIALS_OF_GP:
        return "tpe", f"as gp takes long for more than {MOST_TRIALS_OF_GP} trials"
    return "gp", f"as it needs the fewest trials, and there are {trials} at most"


def check_sampler(name: str, *, objectives: int = 1, constrained: bool = False) -> None:
    """Raise unless the sampler exists and supports what the sweep needs.

    Raises:
        UnknownNameError: no sampler has this name.
        ConfigError: it does not support several objectives, or constraints.
    """
    kind = _kind(name)
    if objectives > 1 and not kind.several_objectives:
        able = ", ".join(other for other, one in SAMPLERS.items() if one.several_objectives)
        raise ConfigError(f"sampler {name} takes one objective, got {objectives}; choose {able}")
    if constrained and not kind.constraints:
        able = ", ".join(other for other, one in SAMPLERS.items() if one.constraints)
        raise ConfigError(
            f"sampler {name} takes no constraints, so it cannot keep within --max-parameters or "
            f"--max-latency-ms; choose {able}"
        )


def generation_attributes(name: str, index: int) -> dict[str, Any]:
    """Return the attributes that give the ``index``-th finished trial its generation.

    An evolutionary sampler reads the generation of a trial where it wrote it itself. Trials added
    to a rebuilt study have none, and without it a resumed search would start over.
    """
    attribute = _kind(name).generation_attribute
    return {} if attribute is None else {attribute: index // POPULATION}


def _kind(name: str) -> SamplerKind:
    if name not in SAMPLERS:
        raise UnknownNameError("sampler", name, [*SAMPLERS, AUTO_SAMPLER])
    return SAMPLERS[name]


def tpe(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimator: learns which joint settings are good.

    Its first ten trials, a search's first points among them, are drawn at random. A running trial
    counts as bad, so that no neighbour of it is suggested meanwhile.
    """
    from optuna.samplers import TPESampler  # noqa: PLC0415 - optuna is slow to import

    return TPESampler(seed=seed, n_startup_trials=10, multivariate=True, constant_liar=True)


def random(seed: int) -> BaseSampler:
    """Independent draws: the baseline that any other sampler must beat."""
    from optuna.samplers import RandomSampler  # noqa: PLC0415 - optuna is slow to import

    return RandomSampler(seed=seed)


def gp(seed: int) -> BaseSampler:
    """Gaussian process: needs few trials, but seconds per suggestion once there are hundreds.

    Its first ten trials are drawn at random. It expects of a running trial what its model says, and
    models by how much students exceed each limit (constrained expected improvement).
    """
    from optuna.samplers import GPSampler  # noqa: PLC0415 - optuna is slow to import

    # A student beyond a limit has no error: to the sampler an infinite one, which it cuts to the
    # worst it knows. Users can do nothing about it.
    warnings.filterwarnings("ignore", message="Clip non-finite values", category=UserWarning)
    return GPSampler(seed=seed, n_startup_trials=10)


def cmaes(seed: int) -> BaseSampler:
    """CMA-ES: adapts a normal distribution of the numbers; categories are drawn at random."""
    from optuna.samplers import CmaEsSampler  # noqa: PLC0415 - optuna is slow to import

    return CmaEsSampler(seed=seed, popsize=POPULATION, warn_independent_sampling=False)


def nsga2(seed: int) -> BaseSampler:
    """NSGA-II: crosses the best of each generation; made for several objectives."""
    from optuna.samplers import NSGAIISampler  # noqa: PLC0415 - optuna is slow to import

    return NSGAIISampler(seed=seed, population_size=POPULATION)


def qmc(seed: int) -> BaseSampler:
    """Scrambled Sobol sequence: random draws that cover the space evenly; learns nothing."""
    from optuna.exceptions import ExperimentalWarning  # noqa: PLC0415 - optuna is slow to import
    from optuna.samplers import QMCSampler  # noqa: PLC0415 - optuna is slow to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return QMCSampler(scramble=True, seed=seed, warn_independent_sampling=False)


SAMPLERS: Final[dict[str, SamplerKind]] = {
    "tpe": SamplerKind(tpe, several_objectives=True, constraints=True),
    "random": SamplerKind(random, several_objectives=True),
    "gp": SamplerKind(gp, several_objectives=True, constraints=True),
    "cmaes": SamplerKind(cmaes, generation_attribute=CMAES_GENERATION),
    "nsga2": SamplerKind(
        nsga2,
        several_objectives=True,
        constraints=True,
        generation_attribute=NSGA2_GENERATION,
    ),
    "qmc": SamplerKind(qmc, several_objectives=True),
}
