"""The settings of one sweep, checked; JSON of them and back.

What is searched within a trial stands in the search space, what surrounds the trials stands here.
Starts nothing.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

from core.distillation.teacher_targets import MEMORY_BUDGET
from core.errors import ConfigError, UnknownNameError
from core.files import check_name
from hpo.space.objectives import read_objectives
from hpo.space.parameters import PRUNE

AUTO: Final = "auto"
BASES = ("table1", "teacher")
"""What pruning starts from: the pruning base of Table 1, or the teacher itself."""

_COUNTS = (
    "trials",
    "epochs",
    "cpus_per_trial",
    "max_concurrent",
    "max_parameters",
    "keep_checkpoints",
    "pairs",
)


@dataclass(frozen=True)
class SweepConfig:
    """One sweep: so many trials of one method on one dataset."""

    name: str
    method: str
    dataset: str
    trials: int = 20
    epochs: int = 30
    """The most a trial may train."""
    sampler: str = "tpe"
    scheduler: str = "none"
    objective: str = "val_mae"
    """What is minimised: a metric, and after commas further metrics or costs."""
    max_parameters: int | None = None
    """The most that a student may have."""
    max_latency_ms: float | None = None
    """The longest that a forecast of a student may take (``hpo.trials.student_costs``)."""
    base: str | None = None
    """What pruning starts from, one of ``BASES``; None: the first."""
    loss: str | None = None
    """What teaches while pruning; None: stcd."""
    seed: int = 0
    teacher: str | None = None
    """A teacher's fingerprint; None: the best there is, or a new one."""
    cpus_per_trial: int = 1
    gpus_per_trial: float | Literal["auto"] | None = None
    """May be a fraction; None: one if the cluster has GPUs, else none; ``auto``: as large a share
    as a trial was measured to need (``hpo.trials.gpu_share``)."""
    max_concurrent: int | None = None
    """Trials at once; None: as many as the cluster has room for."""
    targets_gigabytes: float = MEMORY_BUDGET / 1e9
    """Room for what is stored of the teacher on each machine, shared by its trials; what does not
    fit is stored in a smaller form, or computed by the teacher for every batch."""
    keep_checkpoints: int | None = None
    """Of how many trials, the best, students are kept; None: of all."""
    pairs: int | None = None
    """Pairs of sensors that SCD compares per time step, a sample; None: all of them."""
    cuda_graphs: bool = False
    """Record a training step on the GPU and replay it (``core.training.step_replay``)."""

    def __post_init__(self) -> None:
        """Refuse what cannot run."""
        check_name("sweep", self.name)
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{_option(name)} must be at least 1, got {value}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"--seed must be from 0 to {2**32 - 1}, got {self.seed}")
        if self.gpus_per_trial is not None:
            _check_gpus(self.gpus_per_trial)
        if self.max_latency_ms is not None and not 0 < self.max_latency_ms < math.inf:
            raise ConfigError(f"--max-latency-ms must be above 0, got {self.max_latency_ms}")
        if not 0 <= self.targets_gigabytes < math.inf:
            raise ConfigError(
                f"--targets-gigabytes must be at least 0, got {self.targets_gigabytes}"
            )
        read_objectives(self.objective)
        self._check_pruning()

    @property
    def objectives(self) -> tuple[str, ...]:
        """All that is minimised."""
        return read_objectives(self.objective)

    @property
    def metric(self) -> str:
        """The first objective: the validation error that trials are ranked by."""
        return self.objectives[0]

    @property
    def loss_name(self) -> str:
        """The loss that teaches, a name in ``LOSSES``."""
        return (self.loss or "stcd") if self.method == PRUNE else self.method

    @property
    def base_name(self) -> str | None:
        """What pruning starts from; None where nothing is pruned."""
        return (self.base or BASES[0]) if self.method == PRUNE else None

    def _check_pruning(self) -> None:
        given = {"--base": self.base, "--loss": self.loss}
        for option, value in given.items():
            if value is not None and self.method != PRUNE:
                raise ConfigError(
                    f"{option} is for method {PRUNE}, got method {self.method}; leave it out"
                )
        if self.cuda_graphs and self.method == PRUNE:
            raise ConfigError(
                f"--cuda-graphs replays steps of one network, which {PRUNE} changes; leave it out"
            )
        if self.base is not None and self.base not in BASES:
            raise UnknownNameError("base", self.base, BASES)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SweepConfig:
        """Read what ``to_json`` returned, or JSON of it; unknown keys are errors."""
        for name in values:
            if name not in {field.name for field in fields(cls)}:
                raise UnknownNameError("sweep setting", name, [field.name for field in fields(cls)])
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(
                f"a sweep needs name, method and dataset, got {json.dumps(values)}"
            ) from error


def _check_gpus(gpus: float | str) -> None:
    if gpus == AUTO:
        return
    # Written so that NaN is refused too.
    if isinstance(gpus, str) or not 0 <= gpus < math.inf:
        raise ConfigError(f"--gpus-per-trial must be auto, or not negative or infinite, got {gpus}")
    if gpus > 1 and gpus % 1:
        raise ConfigError(
            f"--gpus-per-trial must be at most 1 or a whole number, got {gpus}; "
            "a trial cannot share parts of several GPUs"
        )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
